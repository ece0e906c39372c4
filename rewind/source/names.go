package source

import (
	"fmt"
	"strings"

	"github.com/failback-hook/failback-hook/rewind"
)

// checkPath refuses what cannot be the name of a file inside a data directory.
// The server would refuse most of it only for users without further rights.
func checkPath(path string) error {
	for part := range strings.SplitSeq(path, "/") {
		if err := checkName(part); err != nil {
			return &rewind.Error{Op: "check file name", Path: path, Err: err}
		}
	}
	return nil
}

// checkName refuses a directory entry that would lead elsewhere. Names from a
// source are not to be trusted: they become paths on this side.
func checkName(name string) error {
	switch {
	case name == "", name == ".", name == "..":
		return fmt.Errorf("%q is not the name of a file: %w", name, rewind.ErrDamaged)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%q holds a slash or a zero byte: %w", name, rewind.ErrDamaged)
	}
	return nil
}

// lookedUp finds a file whose name the server would not take as text. The path
// arrives as bytea; text of the same bytes can only come from the server's own
// listing of directories, walked down from the top. textsend gives the bytes of
// a text, in client_encoding SQL_ASCII without any conversion. The name that is
// found is NULL when there is no such file.
const lookedUp = `LEFT JOIN LATERAL (
	WITH RECURSIVE walk(name) AS (
		SELECT d FROM pg_ls_dir('.', true, false) AS d
		WHERE textsend(d) = r.path OR substring(r.path for length(textsend(d)) + 1) = textsend(d || '/')
		UNION ALL
		SELECT walk.name || '/' || d
		FROM walk, pg_ls_dir(CASE WHEN textsend(walk.name) <> r.path THEN walk.name END, true, false) AS d
		WHERE textsend(walk.name || '/' || d) = r.path
		   OR substring(r.path for length(textsend(walk.name || '/' || d)) + 1) = textsend(walk.name || '/' || d || '/')
	)
	SELECT name FROM walk WHERE textsend(name) = r.path
) AS n ON true`

// asText takes the names as they are.
const asText = `CROSS JOIN LATERAL (SELECT r.path AS name) AS n`

// run of paths that are sent in the same way.
type namesRun struct {
	plain bool
	names []string
}

// param and join belong together: the column n.name results from both.
func (r namesRun) param() param {
	if r.plain {
		return textsParam(r.names)
	}
	return byteasParam(r.names)
}

func (r namesRun) join() string {
	if r.plain {
		return asText
	}
	return lookedUp
}

func readFileStatement(ses *session, path string) (string, param) {
	run := namesRun{plain: ses.plain(path), names: []string{path}}
	return fmt.Sprintf(`SELECT s.size, CASE WHEN s.size <= %d THEN pg_read_binary_file(n.name) END
		FROM unnest($1) AS r(path) %s CROSS JOIN LATERAL pg_stat_file(n.name, true) AS s`, maxFile, run.join()), run.param()
}
