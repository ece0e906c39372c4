package pg_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

var captureDir = flag.String("capture", "", "write the text files of TestServerFiles to this `directory`, for testdata")

// What servers write as text is read as they mean it, and backup labels are
// printed as they print them. Two promotions, a base backup and ALTER SYSTEM; the
// files are those of testdata, which TestCapturedFiles reads.
func TestServerFiles(t *testing.T) {
	rewindtest.ForEachMajor(t, func(t *testing.T, install rewindtest.Install) {
		conf := map[string]string{}
		if install.Major >= 17 {
			conf["summarize_wal"] = "on"
		}
		n := rewindtest.NewPrimary(t, install, rewindtest.Options{Conf: conf})
		files := map[string][]byte{"auto.conf": autoConfByServer(t, n)}
		if install.Major >= 17 && install.Has("pg_basebackup") {
			files["incremental_label"] = incrementalBackup(t, n)
		}
		second := n.Standby(t, "second")
		files["backup_label"] = readServerFile(t, second, "backup_label.old")
		second.Must(t).Promote()
		third := second.Standby(t, "third")
		third.Must(t).Promote()
		files["history"] = readServerFile(t, third, "pg_wal/00000003.history")
		files["label_on_2"] = readServerFile(t, third, "backup_label.old")
		for name, content := range files {
			readServerText(t, name, content)
			capture(t, install.Major, name, content)
		}
		label, err := pg.ParseBackupLabel(files["label_on_2"])
		history, err2 := pg.ParseHistory(3, files["history"])
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if label.Timeline() != 2 || history.At(label.StartLSN) != 2 {
			t.Errorf("the backup of the second timeline began on %d, at %s of %v", label.Timeline(), label.StartLSN, history)
		}
	})
}

// readServerText reads one of the files and checks what does not depend on the run.
func readServerText(t *testing.T, name string, content []byte) {
	t.Helper()
	switch name {
	case "auto.conf":
		settings, err := pg.ParseConf(content)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, s := range settings {
			got[s.Name] = s.Value
		}
		if diff := cmp.Diff(alteredSettings(), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	case "history":
		h, err := pg.ParseHistory(3, content)
		if err != nil || len(h) != 3 || h[0].Timeline != 1 || h[1].Timeline != 2 || h[0].End >= h[1].End {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	default:
		l, err := pg.ParseBackupLabel(content)
		if err != nil {
			t.Fatal(err)
		}
		incremental := name == "incremental_label"
		primary := l.From == "primary" || l.From == "master" // until 13
		if l.Method != "streamed" || !primary || l.StartTimeline != l.Timeline() || (l.IncrementalLSN != 0) != incremental {
			t.Errorf("%s: %+v", name, l)
		}
		if diff := cmp.Diff(string(content), string(l.Bytes())); diff != "" {
			t.Errorf("%s (-the server's +ours):\n%s", name, diff)
		}
	}
}

// alteredSettings are what autoConfByServer sets.
func alteredSettings() map[string]string {
	return map[string]string{
		"work_mem": "8MB", "restore_command": `cp "/a 'b'\c/%f" '%p' # x`, "cluster_name": "it''s \\ = #",
		"primary_conninfo": `host=/tmp user='r' password='it\'s \\'`,
	}
}

func autoConfByServer(t *testing.T, n *rewindtest.Node) []byte {
	t.Helper()
	want := alteredSettings()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		n.Must(t).Exec(fmt.Sprintf("ALTER SYSTEM SET %s = $q$%s$q$", name, want[name]))
	}
	content := readServerFile(t, n, "postgresql.auto.conf")
	n.Must(t).Exec("ALTER SYSTEM RESET ALL") // the standbys to come take it with them
	return content
}

// incrementalBackup gives the label of one; it says which backup it follows.
func incrementalBackup(t *testing.T, n *rewindtest.Node) []byte {
	t.Helper()
	root := t.TempDir()
	full, incremental := filepath.Join(root, "full"), filepath.Join(root, "incremental")
	for _, args := range [][]string{{"-D", full}, {"-D", incremental, "--incremental", filepath.Join(full, "backup_manifest")}} {
		args = append(args, "--no-sync", "--checkpoint=fast", "--host=127.0.0.1", "--username=postgres", "--port="+strconv.Itoa(n.Port))
		if out, err := exec.Command(n.Install.Path("pg_basebackup"), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	content, err := os.ReadFile(filepath.Join(incremental, "backup_label"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func readServerFile(t *testing.T, n *rewindtest.Node, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// capture keeps a file, if asked to.
func capture(t *testing.T, major int, name string, content []byte) {
	t.Helper()
	if *captureDir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*captureDir, fmt.Sprintf("pg%d-%s", major, name)), content, 0o644); err != nil {
		t.Fatal(err)
	}
}
