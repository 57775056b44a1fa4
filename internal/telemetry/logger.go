package telemetry

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewLogger returns the logger for events of the gateway: reloads, health, panics.
// Requests go to an AccessLog instead.
//
// The level is one of debug, info, warn and error, and can be changed through the
// returned handle while the logger is in use; the format is json or console. Empty
// means info and json. An unknown value is an error. The caller syncs the logger
// before it exits.
func NewLogger(level, format string, w zapcore.WriteSyncer) (*zap.Logger, zap.AtomicLevel, error) {
	at := zap.NewAtomicLevel()
	switch level {
	case "", "info":
	case "debug":
		at.SetLevel(zapcore.DebugLevel)
	case "warn":
		at.SetLevel(zapcore.WarnLevel)
	case "error":
		at.SetLevel(zapcore.ErrorLevel)
	default:
		return nil, at, fmt.Errorf("create logger: unknown level %q", level)
	}
	fields := zapcore.EncoderConfig{
		TimeKey:        "time",
		LevelKey:       "level",
		NameKey:        "logger",
		MessageKey:     "message",
		StacktraceKey:  "stack",
		EncodeTime:     encodeTime,
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	}
	var enc zapcore.Encoder
	switch format {
	case "", "json":
		enc = zapcore.NewJSONEncoder(fields)
	case "console":
		enc = zapcore.NewConsoleEncoder(fields)
	default:
		return nil, at, fmt.Errorf("create logger: unknown format %q", format)
	}
	core := zapcore.NewCore(enc, zapcore.Lock(w), at)
	return zap.New(core, zap.ErrorOutput(w)), at, nil
}

// encodeTime writes times as the access log does.
func encodeTime(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
	enc.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}
