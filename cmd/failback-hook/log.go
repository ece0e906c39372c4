package main

import (
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger writes to stderr, which for a detached worker is its log file:
// results go to stdout, everything else here.
func (p *program) logger(c *configuration) *zap.Logger {
	level, err := zapcore.ParseLevel(c.settings.Log.Level)
	if err != nil {
		level = zapcore.InfoLevel
	}
	log := zap.New(zapcore.NewCore(logEncoder(c.settings.Log.Format), zapcore.AddSync(p.stderr), level))
	for _, w := range c.warnings {
		log.Warn(w)
	}
	if p.stage == stageWorker {
		log = log.With(zap.Int("pid", os.Getpid()))
	}
	return log
}

func logEncoder(format string) zapcore.Encoder {
	e := zap.NewProductionEncoderConfig()
	e.EncodeTime = zapcore.RFC3339TimeEncoder
	e.EncodeDuration = zapcore.StringDurationEncoder
	if format == "json" {
		return zapcore.NewJSONEncoder(e)
	}
	e.EncodeTime = zapcore.TimeEncoderOfLayout(time.DateTime + ".000 -07:00")
	e.EncodeLevel = zapcore.CapitalLevelEncoder
	e.ConsoleSeparator = " "
	return zapcore.NewConsoleEncoder(e)
}
