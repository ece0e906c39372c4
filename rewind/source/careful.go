package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/failback-hook/failback-hook/rewind"
)

// isFileError tells whether the server could not look at a file or directory
// though it exists. missing_ok covers absence only; everything else makes the
// whole statement fail: EACCES (42501), ENOTDIR (42809), a file that went away
// (58P01), and what PostgreSQL has no SQLSTATE for, such as ELOOP (XX000, from
// the file functions). EIO (58030) is not among them: a broken disk is no
// reason to go on without the file.
func isFileError(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch e.Code {
	case "42501":
		return e.Routine != "aclcheck_error"
	case "42809", "58P01":
		return true
	case "XX000":
		return e.File == "genfile.c" || e.File == "fd.c" || e.File == "misc.c"
	}
	return false
}

// listCarefully lists what is left of the current directory so that no entry
// that cannot be looked at takes others with it, and goes on to the next one.
func (l *lister) listCarefully(ctx context.Context, ses *session) error {
	dir := l.level[l.at]
	names, err := l.namesLeft(ctx, ses, dir)
	switch {
	case isFileError(err) && needed(dir):
		return describe(opList, dir, err)
	case isFileError(err):
		names = nil // reported as a directory already; its children are left out
	case err != nil:
		return err
	}
	for len(names) > 0 {
		n := min(len(names), maxBatchDirs)
		if err := l.statAll(ctx, ses, dir, names[:n]); err != nil {
			return err
		}
		names = names[n:]
	}
	l.at, l.after = l.at+1, ""
	return nil
}

// namesLeft lists only names, which needs no look at the entries themselves.
func (l *lister) namesLeft(ctx context.Context, ses *session, dir string) ([]string, error) {
	run := namesRun{plain: ses.plain(dir), names: []string{dir}}
	rows, err := ses.rows(ctx, "SELECT d FROM unnest($1) AS r(path) "+run.join()+`
		CROSS JOIN LATERAL pg_ls_dir(CASE n.name WHEN '' THEN '.' ELSE n.name END, true, false) AS d
		WHERE textsend(d) > $2 ORDER BY textsend(d)`, run.param(), byteaParam(l.after))
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row[0]
	}
	return names, err
}

// statAll looks at entries together and, where that fails, at each half alone.
func (l *lister) statAll(ctx context.Context, ses *session, dir string, names []string) error {
	run := namesRun{plain: ses.plain(join(dir, names[0]))}
	for _, name := range names {
		if ses.plain(join(dir, name)) != run.plain {
			break
		}
		run.names = append(run.names, join(dir, name))
	}
	if rest := names[len(run.names):]; len(rest) > 0 {
		if err := l.statAll(ctx, ses, dir, names[:len(run.names)]); err != nil {
			return err
		}
		return l.statAll(ctx, ses, dir, rest)
	}
	done := 0
	err := ses.query(ctx, "SELECT s.size, s.isdir, "+l.guard("n.name")+" FROM unnest($1) AS r(path) "+run.join()+
		" CROSS JOIN LATERAL pg_stat_file(n.name, true) AS s", []param{run.param()},
		func(values [][]byte) error {
			if done == len(names) {
				return fmt.Errorf("more answers than files: %w", rewind.ErrDamaged)
			}
			done++
			return l.entry(names[done-1], values[0], values[1], values[2])
		})
	if !isFileError(err) {
		return err
	}
	if len(names) == 1 {
		return l.deliver(rewind.File{Path: join(dir, names[0]), Kind: rewind.KindOther}, names[0])
	}
	rest := names[done:]
	if len(rest) == 0 {
		return err
	}
	half := (len(rest) + 1) / 2
	if err := l.statAll(ctx, ses, dir, rest[:half]); err != nil {
		return err
	}
	if rest = rest[half:]; len(rest) == 0 {
		return nil
	}
	return l.statAll(ctx, ses, dir, rest)
}
