package gateway

import (
	"context"
	"fmt"
	"math"
	"os"
	"reflect"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/salgue441/velocity/internal/config"
	"github.com/salgue441/velocity/internal/telemetry"
)

// accessLog is a running access log and what it was made from.
type accessLog struct {
	settings config.AccessLog
	log      *telemetry.AccessLog
	file     *telemetry.FileWriter // nil for stdout and stderr
}

// openAccessLog gives next its access log: the one before if its settings are
// the same.
func (g *Gateway) openAccessLog(c *config.Config, before, next *running) error {
	s := c.Observability.AccessLog
	if !s.Enabled || s.Sample == 0 && !s.AlwaysLogErrors {
		return nil
	}
	if before != nil && before.accessLog != nil && reflect.DeepEqual(before.accessLog.settings, s) {
		next.accessLog = before.accessLog
	} else {
		a := &accessLog{settings: s}
		var w zapcore.WriteSyncer
		switch s.Output {
		case "stdout":
			w = zapcore.Lock(os.Stdout)
		case "stderr":
			w = zapcore.Lock(os.Stderr)
		default:
			var err error
			if a.file, err = telemetry.NewFileWriter(s.Output); err != nil {
				return fmt.Errorf("observability.access_log.output: %w", err)
			}
			w = a.file
		}
		sample := s.Sample
		if sample == 0 {
			sample = math.SmallestNonzeroFloat64 // none but the errors: zero means all there
		}
		a.log = telemetry.NewAccessLog(telemetry.AccessLogOptions{
			Writer: w, Sample: sample, MinStatus: s.MinStatus, MinDuration: time.Duration(s.MinDuration),
			AlwaysLogErrors: s.AlwaysLogErrors, RequestHeaders: s.RequestHeaders, ResponseHeaders: s.ResponseHeaders,
			Buffer: s.Buffer, Metrics: g.metrics.AccessLog(),
		})
		next.accessLog = a
	}
	next.plan.snapshot.Sinks = append(next.plan.snapshot.Sinks, next.accessLog.log)
	return nil
}

// retireAccessLog closes a log that the current snapshot no longer writes to.
// Requests that began before the swap may still have lines for it, so it stays
// open for as long as a shutdown would wait for them.
func (g *Gateway) retireAccessLog(a *accessLog) {
	if a == nil {
		return
	}
	g.loops.Go(func() {
		select {
		case <-time.After(time.Duration(g.running.Load().plan.config.Server.Shutdown.Timeout)):
		case <-g.stopped:
		}
		g.closeAccessLog(a)
	})
}

// closeAccessLog writes what is buffered, for a second at the most.
func (g *Gateway) closeAccessLog(a *accessLog) {
	if a == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.log.Close(ctx); err != nil {
		g.log.Error("close access log", zap.Error(err))
	}
	if a.file != nil {
		if err := a.file.Close(); err != nil {
			g.log.Error("close access log", zap.Error(err))
		}
	}
}

// reopenAccessLog follows a log file that was renamed, as logrotate does.
func (g *Gateway) reopenAccessLog() {
	r := g.running.Load()
	if r == nil || r.accessLog == nil || r.accessLog.file == nil {
		return
	}
	if err := r.accessLog.file.Reopen(); err != nil {
		g.log.Error("reopen access log", zap.Error(err))
	}
}
