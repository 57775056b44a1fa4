package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/salgue441/velocity/internal/config"
)

// A take-over is a conversation of two processes over a Unix socket:
//
//	new  hello            its protocol version
//	old  sockets          their identities, then the descriptors (SCM_RIGHTS)
//	new  limits           it has built its configuration and wants the counts of limits
//	old  limits           those counts
//	new  ready            it accepts
//	old  done             it accepts no more, and drains
//	old  limits           what it has admitted since, again and again until it ends
//
// Limits are left out when one of the two does not know of them, which hello and sockets
// tell, or has none: see carry.go.
//
// Until done the old process serves as if nothing happened, and it goes on
// when the new one leaves, fails, or takes longer than takeoverTime. The new
// process gives up unless it hears done, or the old one is no more. So there is
// always one that accepts.

// takeoverTime bounds a take-over, from hello to ready.
const takeoverTime = 30 * time.Second

// takeoverVersion is that of the messages. Processes of different versions do
// not understand each other.
const takeoverVersion = 1

// message is what is sent, with its length before it.
type message struct {
	Version int      `json:"version,omitempty"`
	Step    string   `json:"step"`
	Sockets []passed `json:"sockets,omitempty"`

	// Limits, in hello and sockets, is the version of the counts of rate limits that a
	// process knows; 0 is none.
	Limits int `json:"limits,omitempty"`
	// Seed, in sockets and limits, is the secret of the hash of limited keys.
	Seed uint64 `json:"seed,omitempty"`
	// Bytes, in limits, is the length of the counts that follow, which were right at
	// Mono and Wall by the old process's clocks.
	Bytes int   `json:"bytes,omitempty"`
	Mono  int64 `json:"mono,omitempty"`
	Wall  int64 `json:"wall,omitempty"`
}

// passed describes a socket whose descriptor follows.
type passed struct {
	Key  string `json:"key"`
	File string `json:"file,omitempty"`
}

const (
	stepHello   = "hello"
	stepSockets = "sockets"
	stepLimits  = "limits"
	stepReady   = "ready"
	stepDone    = "done"
)

// maxMessage bounds a message in bytes.
const maxMessage = 1 << 20

// takeoverPath is where the process that runs a configuration can be asked to
// hand over; empty when it cannot. Processes of the same user that run the
// same file agree on it.
func takeoverPath(c *config.Config, configPath string, env []string) string {
	switch c.Server.TakeoverSocket {
	case "off":
		return ""
	case "":
	default:
		return c.Server.TakeoverSocket
	}
	if abs, err := filepath.Abs(configPath); err == nil {
		configPath = abs
	}
	sum := sha256.Sum256([]byte(strconv.Itoa(os.Geteuid()) + " " + configPath))
	return filepath.Join(runtimeDir(env), "velocity-"+hex.EncodeToString(sum[:8])+".sock")
}

// runtimeDir is the first of the usual directories that exists.
func runtimeDir(env []string) string {
	for _, dir := range []string{variable(env, "XDG_RUNTIME_DIR"), "/run/velocity"} {
		if info, err := os.Stat(dir); dir != "" && err == nil && info.IsDir() {
			return dir
		}
	}
	return os.TempDir()
}

// listenTakeover makes the take-over socket. It is renamed into place, so that
// the process that has just been taken over loses it without a gap. Without
// replace, a path that another process answers at is an error.
func listenTakeover(path string, replace bool) (*net.UnixListener, error) {
	if _, err := os.Lstat(path); err == nil && !replace && !isStale(path) {
		return nil, fmt.Errorf("listen on %s: %w", path, syscall.EADDRINUSE)
	}
	temporary := path + "." + strconv.Itoa(os.Getpid())
	_ = os.Remove(temporary) // left by a process that crashed, with our number
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(temporary, 0o600); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		ln.Close()
		_ = os.Remove(temporary)
		return nil, err
	}
	return ln, nil
}

// takeover is the new process's side.
type takeover struct {
	conn *net.UnixConn
	path string

	limits bool   // the old process hands over counts of rate limits
	seed   uint64 // which are of keys that were hashed with it
	asked  bool   // it was asked for them
	clock  int64  // what the monotonic clock is ahead of the old process's
}

// askForSockets connects to the running process and receives its sockets.
func askForSockets(path string) (*takeover, inheritance, error) {
	in := inheritance{byKey: map[string]socket{}}
	if path == "" {
		return nil, in, errors.New("take over: server.takeover_socket is off")
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, in, fmt.Errorf("take over: no process to take over from: %w", err)
	}
	t := &takeover{conn: conn, path: path}
	err = t.receive(&in)
	if err != nil {
		in.drop(false)
		conn.Close()
		return nil, in, fmt.Errorf("take over: %w", err)
	}
	return t, in, nil
}

func (t *takeover) receive(in *inheritance) error {
	if err := t.conn.SetDeadline(time.Now().Add(takeoverTime)); err != nil {
		return err
	}
	if _, err := peerOf(t.conn); err != nil {
		return err
	}
	if err := send(t.conn, message{Step: stepHello, Version: takeoverVersion, Limits: limitsVersion}); err != nil {
		return err
	}
	m, err := receive(t.conn, stepSockets)
	if err != nil {
		return err
	}
	t.limits, t.seed = m.Limits == limitsVersion, m.Seed
	for _, p := range m.Sockets {
		fd, err := receiveFD(t.conn)
		if err != nil {
			return fmt.Errorf("receive socket %s: %w", p.Key, err)
		}
		ln, err := listenerOf(fd, p.Key)
		if err != nil {
			return err
		}
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		in.byKey[p.Key] = socket{key: p.Key, ln: ln, file: p.File}
	}
	return nil
}

// ready says that this process accepts, and returns when the old one hands over
// or has died. An error means that the old one goes on, and that this one must
// not. The connection is closed unless the old process goes on to tell what it
// admits.
func (t *takeover) ready() (tells bool, err error) {
	err = send(t.conn, message{Step: stepReady})
	if err == nil {
		_, err = receive(t.conn, stepDone)
	}
	if err == nil && t.asked {
		return true, nil
	}
	t.conn.Close()
	if err != nil && !isStale(t.path) { // a process that has died hears nobody at its path
		return false, fmt.Errorf("take over: the running process goes on: %w", err)
	}
	return false, nil
}

// greet is the first step of the old process's side. It returns the process at
// the other end, and what that said. The error is io.EOF when it has left without a
// word.
func greet(conn *net.UnixConn) (pid int, hello message, err error) {
	if err := conn.SetDeadline(time.Now().Add(takeoverTime)); err != nil {
		return 0, hello, err
	}
	if pid, err = peerOf(conn); err != nil {
		return 0, hello, err
	}
	hello, err = receive(conn, stepHello)
	if err == nil && hello.Version != takeoverVersion {
		err = fmt.Errorf("it speaks version %d of the protocol, this process %d", hello.Version, takeoverVersion)
	}
	return pid, hello, err
}

// offer is what the old process gives.
type offer struct {
	sockets []socket
	seed    uint64
	limits  func() (message, []byte) // counts of rate limits, nil if nobody wants them
	commit  func() error
}

// handOver is the rest of the old process's side. It returns nil once the new
// process is ready, commit has agreed and the new process knows; an error means
// that this process goes on.
func handOver(conn *net.UnixConn, o offer) error {
	m := message{Step: stepSockets}
	if o.limits != nil {
		m.Limits, m.Seed = limitsVersion, o.seed
	}
	for _, s := range o.sockets {
		m.Sockets = append(m.Sockets, passed{s.key, s.file})
	}
	if err := send(conn, m); err != nil {
		return err
	}
	for _, s := range o.sockets {
		if err := rawFD(s.ln, func(fd int) error { return sendFD(conn, fd) }); err != nil {
			return fmt.Errorf("send socket %s: %w", s.key, err)
		}
	}
	if err := answerLimits(conn, o); err != nil {
		return fmt.Errorf("wait until it is ready: %w", err)
	}
	if err := o.commit(); err != nil {
		return err
	}
	return send(conn, message{Step: stepDone})
}

// answerLimits sends counts of limits when asked, until the new process is ready.
func answerLimits(conn *net.UnixConn, o offer) error {
	for {
		m, err := receive(conn, stepReady, stepLimits)
		switch {
		case err != nil || m.Step == stepReady:
			return err
		case o.limits == nil:
			return errors.New("it asks for limits that it was not offered")
		}
		if err := sendLimits(conn, o.limits); err != nil {
			return err
		}
	}
}

func send(conn *net.UnixConn, m message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

// receive reads a message of one of the steps and not one byte more: descriptors
// come with the byte they were sent with.
func receive(conn *net.UnixConn, steps ...string) (message, error) {
	var m message
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return m, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxMessage {
		return m, fmt.Errorf("message of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return m, err
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&m); err != nil {
		return m, fmt.Errorf("read message: %w", err)
	}
	if !slices.Contains(steps, m.Step) {
		return m, fmt.Errorf("expected %s, got %q", strings.Join(steps, " or "), m.Step)
	}
	return m, nil
}

// sendFD sends a descriptor, with a byte that carries it.
func sendFD(conn *net.UnixConn, fd int) error {
	_, _, err := conn.WriteMsgUnix([]byte{0}, syscall.UnixRights(fd), nil)
	return err
}

func receiveFD(conn *net.UnixConn) (int, error) {
	var data [1]byte
	control := make([]byte, syscall.CmsgSpace(4))
	n, controlled, _, _, err := conn.ReadMsgUnix(data[:], control) // sets close-on-exec
	if err != nil {
		return -1, err
	}
	list, err := syscall.ParseSocketControlMessage(control[:controlled])
	if err != nil || len(list) != 1 || n != 1 {
		return -1, errors.New("no descriptor came")
	}
	fds, err := syscall.ParseUnixRights(&list[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.New("no descriptor came")
	}
	return fds[0], nil
}
