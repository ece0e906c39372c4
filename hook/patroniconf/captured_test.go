package patroniconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

// TestCaptured compares with what Patroni 3.0.2 and 4.0.7 themselves have made
// of random configurations; testdata/capture.py says how it was taken down.
func TestCaptured(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("testdata", "captured.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Files []string
		Env   map[string]string
		Want  map[string]any
	}
	if err := json.Unmarshal(content, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	for i, c := range cases {
		var files []File
		for _, text := range c.Files {
			files = append(files, File{Name: "p.yml", Content: []byte(text)})
		}
		conf, err := Read(files, c.Env)
		if err != nil {
			t.Errorf("case %d: %v\n%s\n%v", i, err, strings.Join(c.Files, "---\n"), c.Env)
			continue
		}
		if diff := cmp.Diff(c.Want, inPatroniWords(t, conf)); diff != "" {
			t.Errorf("case %d (-Patroni +here): %s\n%s\n%v", i, diff, strings.Join(c.Files, "---\n"), c.Env)
		}
	}
}

// inPatroniWords is a Config as capture.py prints what it should be.
func inPatroniWords(t *testing.T, c *Config) map[string]any {
	t.Helper()
	all := map[string]any{}
	for key, value := range settingsOf(c) {
		all[key] = value[0]
		if !strings.HasSuffix(key, "conninfo") {
			continue
		}
		parsed, err := pg.ParseConninfo(value[0])
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", key, err))
		}
		login := map[string]any{}
		for _, p := range parsed {
			login[p.Key] = p.Value
		}
		all[key] = login
	}
	var other *StoreError
	switch {
	case errors.As(c.Refused, &other):
		all["refused"] = other.Store
	case c.Refused != nil:
		all["refused"] = "none"
	}
	return all
}
