package main

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
)

// TestOutlet: a reader that has gone ends the run, by whatever way it is written.
func TestOutlet(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"Write":       func(w io.Writer) error { _, err := w.Write([]byte("x")); return err },
		"WriteString": func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			read, write2, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer write2.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			out := &outlet{write2, cancel}
			if err := write(out); err != nil || ctx.Err() != nil {
				t.Errorf("with a reader: %v, %v", err, ctx.Err())
			}
			read.Close()
			if err := write(out); err == nil || !errors.Is(context.Cause(ctx), errOutputClosed) {
				t.Errorf("without a reader: %v, cause %v", err, context.Cause(ctx))
			}
		})
	}
	if _, ok := terminal(&outlet{file: os.NewFile(^uintptr(0), "")}); ok {
		t.Error("no file is a terminal")
	}
}
