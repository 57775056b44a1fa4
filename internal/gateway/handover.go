package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// handover says who answers for this process's sockets, and is how other
// processes get them.
type handover struct {
	phase atomic.Int32
	done  chan struct{} // closed when another process has taken over

	ln   *net.UnixListener // nil: this process cannot be asked
	path string

	mu   sync.Mutex
	conn *net.UnixConn // the hand-over under way

	successor atomic.Bool // a process that was started for SIGUSR2 has not ended
}

// Phases. From serving a process goes to one of the others, and stays.
const (
	serving    int32 = iota
	stopping         // it was told to stop
	handedOver       // another process has its sockets
	declined         // it was to take over, and the process before goes on
)

func (h *handover) isDone() bool { return h.phase.Load() == handedOver }

// othersServe reports whether another process accepts from the same sockets.
func (h *handover) othersServe() bool {
	phase := h.phase.Load()
	return phase == handedOver || phase == declined
}

// end ends the time in which the process can hand over, and a hand-over that is
// not decided yet. It returns the phase that the process is in.
func (h *handover) end() int32 {
	if h.phase.CompareAndSwap(serving, stopping) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.conn != nil {
			h.conn.Close()
		}
	}
	return h.phase.Load()
}

// begin notes the hand-over under way and reports whether it may go on.
func (h *handover) begin(conn *net.UnixConn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn = conn
	return h.phase.Load() == serving
}

// keep takes the connection out of the hand-over, which does not close it then.
func (h *handover) keep() *net.UnixConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	conn := h.conn
	h.conn = nil
	return conn
}

func (h *handover) finish() {
	if conn := h.keep(); conn != nil {
		conn.Close()
	}
}

// close ends the take-over socket. Its file belongs to the new process once
// there is one.
func (h *handover) close() {
	if h.ln == nil {
		return
	}
	h.ln.Close()
	if h.phase.Load() == stopping {
		_ = os.Remove(h.path) // its directory may be gone, too
	}
}

// finishTakeover ends the process before this one, if it was started to take
// over. An error means that the process before goes on.
func (g *Gateway) finishTakeover() error {
	g.applying.Lock()
	defer g.applying.Unlock()
	if g.takeover == nil {
		for key := range g.inherited.byKey {
			g.log.Warn("systemd passed a socket that no listener names", zap.String("socket", key))
		}
		g.inherited.drop(false)
		return nil
	}
	tells, err := g.takeover.ready()
	if err != nil {
		g.handover.phase.Store(declined)
		return err
	}
	if tells {
		g.followLimits(g.takeover)
	}
	g.inherited.drop(true)
	return nil
}

// serveTakeover lets other processes ask for the sockets, one at a time.
func (g *Gateway) serveTakeover() {
	h := &g.handover
	h.path = takeoverPath(g.running.Load().plan.config, g.options.ConfigPath, g.options.Env)
	if h.path == "" {
		return
	}
	ln, err := listenTakeover(h.path, g.takeover != nil)
	if err != nil {
		level := zapcore.InfoLevel // in a container there is no one to take over
		if g.running.Load().plan.config.Server.TakeoverSocket != "" {
			level = zapcore.WarnLevel
		}
		g.log.Log(level, "this process cannot be taken over", zap.Error(err))
		return
	}
	h.ln = ln
	g.loops.Go(func() {
		var after *follower
		for !h.isDone() {
			conn, err := ln.AcceptUnix()
			switch {
			case err == nil:
				after = g.handOver(conn)
			case errors.Is(err, net.ErrClosed):
				return
			default: // out of descriptors, say
				g.log.Warn("accept take-over", zap.Error(err))
				select {
				case <-time.After(time.Second):
				case <-g.stopped:
				}
			}
		}
		ln.Close() // who waits there asks the new process next
		g.tellTaken(after)
	})
}

// handOver gives the sockets to the process at the other end of conn. Until it
// is ready, this one goes on, without reloads: they might change the sockets. It
// returns who has taken over, if anybody.
func (g *Gateway) handOver(conn *net.UnixConn) *follower {
	h := &g.handover
	defer h.finish()
	if !h.begin(conn) {
		return nil
	}
	pid, hello, err := greet(conn)
	if err == io.EOF {
		return nil // somebody has looked whether we are here
	}
	if err == nil {
		started := time.Now()
		g.applying.Lock()
		defer g.applying.Unlock()
		f := new(follower)
		if err = handOver(conn, g.offerTo(pid, hello, f)); err == nil {
			g.log.Info("handed over", zap.Int("pid", pid), zap.Duration("took", time.Since(started)))
			if f.knows {
				f.conn = h.keep()
			}
			close(h.done)
			return f
		}
	}
	if h.phase.CompareAndSwap(handedOver, serving) {
		g.notify("MAINPID=" + strconv.Itoa(os.Getpid()))
	}
	g.log.Error("hand over: this process goes on", zap.Int("pid", pid), zap.Error(err))
	return nil
}

// commitTo decides that the process pid serves from now on.
func (g *Gateway) commitTo(pid int) error {
	if !g.handover.phase.CompareAndSwap(serving, handedOver) {
		return errors.New("this process is stopping")
	}
	// From the process that systemd knows, so that NotifyAccess=main will do.
	g.notify("MAINPID=" + strconv.Itoa(pid))
	return nil
}

// ownSockets are all that another process needs to be this one.
func (g *Gateway) ownSockets() []socket {
	var out []socket
	for _, a := range g.acceptors() {
		out = append(out, a.socket)
	}
	if g.adminSocket.ln != nil {
		out = append(out, g.adminSocket)
	}
	return out
}

// startSuccessor starts this program again, as it is on disk now, to take over.
func (g *Gateway) startSuccessor() {
	h := &g.handover
	if h.ln == nil {
		g.log.Error("take over: server.takeover_socket is off or could not be made")
		return
	}
	if !h.successor.CompareAndSwap(false, true) {
		g.log.Warn("take over: a process that was started for it has not ended yet")
		return
	}
	cmd, err := g.successor()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.successor.Store(false)
		g.log.Error("take over: start the new process", zap.Error(err))
		return
	}
	g.log.Info("started a process to take over", zap.Int("pid", cmd.Process.Pid))
	// Nobody waits for this goroutine: when all goes well it outlives the gateway.
	go func() {
		limit := time.AfterFunc(takeoverTime, func() {
			if !h.isDone() {
				_ = cmd.Process.Kill() // it may have ended by itself
			}
		})
		err := cmd.Wait()
		limit.Stop()
		h.successor.Store(false)
		if !h.isDone() {
			g.log.Error("take over: the new process ended, this one goes on", zap.Int("pid", cmd.Process.Pid), zap.Error(err))
		}
	}()
}

func (g *Gateway) successor() (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := slices.Clone(g.options.Args)
	if !slices.Contains(args, "--takeover") {
		args = append(args, "--takeover")
	}
	cmd := exec.Command(program, args...)
	cmd.Env = childEnvironment(g.options.Env)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd, nil
}
