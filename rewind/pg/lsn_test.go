package pg_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/failback-hook/failback-hook/rewind/pg"
)

func TestParseLSN(t *testing.T) {
	tests := []struct {
		in   string
		want pg.LSN
		ok   bool
	}{
		{"0/0", 0, true},
		{"16/B374D848", 0x16B374D848, true},
		{"0/1ab", 0x1AB, true},
		{"FFFFFFFF/FFFFFFFF", pg.MaxLSN, true},
		{"", 0, false},
		{"/", 0, false},
		{"1/", 0, false},
		{"/1", 0, false},
		{"1/2/3", 0, false},
		{"100000000/0", 0, false},
		{"0/100000000", 0, false},
		{"+1/0", 0, false},
		{"0x1/0", 0, false},
		{" 0/1", 0, false},
		{"0/1\n", 0, false},
		{"0/1_0", 0, false},
	}
	for _, tt := range tests {
		got, err := pg.ParseLSN(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseLSN(%q) = %v, %v; want %v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func TestLSNRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := pg.LSN(rapid.Uint64().Draw(t, "lsn"))
		if got, err := pg.ParseLSN(want.String()); got != want || err != nil {
			t.Fatalf("ParseLSN(%q) = %v, %v", want, got, err)
		}
	})
}

func TestJSON(t *testing.T) {
	type doc struct {
		LSN pg.LSN      `json:"lsn"`
		ID  pg.SystemID `json:"id"`
		F   pg.Fork     `json:"fork"`
	}
	want := doc{0x16B374D848, 7710524822113234669, pg.Fork{LSN: pg.MaxLSN, Timeline: 3}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	const text = `{"lsn":"16/B374D848","id":"7710524822113234669","fork":{"lsn":"FFFFFFFF/FFFFFFFF","timeline":3}}`
	if string(b) != text {
		t.Errorf("got %s\nwant %s", b, text)
	}
	var got doc
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("read back %+v, %v", got, err)
	}
	for _, bad := range []string{`{"lsn":"x"}`, `{"lsn":5}`, `{"id":"0"}`, `{"id":""}`, `{"id":"-1"}`, `{"id":"18446744073709551616"}`} {
		got := doc{LSN: 1, ID: 1}
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("no error for %s", bad)
		}
		if got.LSN != 1 || got.ID != 1 {
			t.Errorf("%s changed the value to %+v", bad, got)
		}
	}
}

func TestFullXID(t *testing.T) {
	if got := pg.FullXID(5<<32 | 726).XID(); got != 726 {
		t.Errorf("got %d, want 726", got)
	}
}
