package pg_test

import (
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

func TestMajorOf(t *testing.T) {
	tests := []struct {
		control, catalog uint32
		want             pg.Major
	}{
		{1300, 202007201, 13},
		{1300, 202107181, 14},
		{1300, 202209061, 15},
		{1300, 202307071, 16},
		{1700, 202406281, 17},
		{1800, 202506291, 18},
		{1201, 201909212, 0}, // 12
		{1300, 202506291, 0}, // a pair that never was
		{1300, 202209062, 0},
		{0, 0, 0},
	}
	for _, tt := range tests {
		got, err := pg.MajorOf(tt.control, tt.catalog)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("MajorOf(%d, %d) = %d, %v; want %d", tt.control, tt.catalog, got, err, tt.want)
		}
		if tt.want != 0 && tt.want.CatalogVersion() != tt.catalog {
			t.Errorf("CatalogVersion of %d = %d, want %d", tt.want, tt.want.CatalogVersion(), tt.catalog)
		}
	}
	_, err := pg.MajorOf(1201, 201909212)
	if err == nil || !strings.Contains(err.Error(), "1201") || !strings.Contains(err.Error(), "201909212") {
		t.Errorf("the error %v does not name both versions", err)
	}
	if got := pg.Major(12).CatalogVersion(); got != 0 {
		t.Errorf("CatalogVersion of 12 = %d, want 0", got)
	}
}

func TestTablespaceDir(t *testing.T) {
	if got, want := pg.TablespaceDir(15), "PG_15_202209061"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseVersionFile(t *testing.T) {
	tests := []struct {
		in   string
		want pg.Major
	}{
		{"15\n", 15}, {"13\n", 13}, {"18\n", 18}, {"15", 15},
		{"", 0}, {"\n", 0}, {"12\n", 0}, {"19\n", 0}, {"9.6\n", 0}, {"15.4\n", 0},
		{"015\n", 0}, {"+15\n", 0}, {"15\n15\n", 0}, {"15 \n", 0}, {"15\r\n", 0},
		{strings.Repeat("1", 1<<16), 0},
	}
	for _, tt := range tests {
		got, err := pg.ParseVersionFile([]byte(tt.in))
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("ParseVersionFile(%.20q) = %d, %v; want %d", tt.in, got, err, tt.want)
		}
	}
}
