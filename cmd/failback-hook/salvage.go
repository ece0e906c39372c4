package main

import (
	"os"
	"path/filepath"

	"go.uber.org/zap"
)

// Values of salvage.dir that are no directories.
const (
	salvageAuto = "auto"
	salvageOff  = "off"
)

// salvageDir is where the WAL goes that only this node had; empty for nowhere.
// Without a place for files of ours it stays counted, and is not kept: no reason
// to leave the node down.
func (p *program) salvageDir(s *settings, log *zap.Logger) string {
	if s.Salvage.Dir != salvageAuto {
		return s.salvage().Dir
	}
	dir, err := stateDir(p.env, os.Getuid())
	if err != nil {
		log.Warn("the WAL that only this node has will be counted, and not kept: set salvage.dir", zap.Error(err))
		return ""
	}
	return filepath.Join(dir, "salvage")
}
