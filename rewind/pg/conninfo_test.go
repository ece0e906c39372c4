package pg_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/failback-hook/failback-hook/rewind/pg"
	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

// goodConninfos are read here and, in conninfo_libpq_test.go, by libpq itself.
func goodConninfos() []struct {
	name, in string
	want     pg.Conninfo
} {
	return []struct {
		name, in string
		want     pg.Conninfo
	}{
		{"empty", "", nil},
		{"blank", " \t\r\n\v\f", nil},
		{"keywords", "host=a port=5432", pg.Conninfo{{"host", "a"}, {"port", "5432"}}},
		{"spaces around =", " host = a\tport\n=\n5432 ", pg.Conninfo{{"host", "a"}, {"port", "5432"}}},
		{"quotes", `user='a b' password='it\'s \\ =' dbname=''`, pg.Conninfo{{"user", "a b"}, {"password", `it's \ =`}, {"dbname", ""}}},
		{"backslash without quotes", `password=a\ b\'c\\ user=x\`, pg.Conninfo{{"password", `a b'c\`}, {"user", "x"}}},
		{"quotes inside", `password=a'b'c`, pg.Conninfo{{"password", "a'b'c"}}},
		{"nothing between", `user='a'dbname='b'`, pg.Conninfo{{"user", "a"}, {"dbname", "b"}}},
		{"an empty value takes the next word", "user= dbname=b", pg.Conninfo{{"user", "dbname=b"}}},
		{"= in a value", "options=-csearch_path=x", pg.Conninfo{{"options", "-csearch_path=x"}}},
		{"last wins", "port=1 host=a port=2", pg.Conninfo{{"port", "2"}, {"host", "a"}}},
		{"beyond ASCII", "user=käse password='ñ \u00a0'", pg.Conninfo{{"user", "käse"}, {"password", "ñ \u00a0"}}},
		{"uri without anything", "postgresql://", nil},
		{"uri", "postgres://u@h:5433/db", pg.Conninfo{{"user", "u"}, {"host", "h"}, {"port", "5433"}, {"dbname", "db"}}},
		{"uri with all", "postgresql://u:p%40%2F%20@h:1/d%20b?sslmode=require&application_name=x%26y",
			pg.Conninfo{{"user", "u"}, {"password", "p@/ "}, {"host", "h"}, {"port", "1"}, {"dbname", "d b"}, {"sslmode", "require"}, {"application_name", "x&y"}}},
		{"uri with hosts", "postgresql://a:1,b,[::1]:3/db", pg.Conninfo{{"host", "a,b,::1"}, {"port", "1,,3"}, {"dbname", "db"}}},
		{"uri with a socket", "postgresql://%2Fvar%2Frun/db", pg.Conninfo{{"host", "/var/run"}, {"dbname", "db"}}},
		{"uri with the host as a parameter", "postgresql:///db?host=/tmp&port=5433", pg.Conninfo{{"dbname", "db"}, {"host", "/tmp"}, {"port", "5433"}}},
		{"uri with IPv6", "postgresql://[fe80::1]", pg.Conninfo{{"host", "fe80::1"}}},
		{"uri with only a password", "postgresql://:secret@h", pg.Conninfo{{"password", "secret"}, {"host", "h"}}},
		{"uri with colon and question mark in the password", "postgresql://u:a:b?c@h", pg.Conninfo{{"user", "u"}, {"password", "a:b?c"}, {"host", "h"}}},
		{"uri, at sign behind the slash", "postgresql://h/d@b", pg.Conninfo{{"host", "h"}, {"dbname", "d@b"}}},
		{"uri, parameters only", "postgresql://?user=u", pg.Conninfo{{"user", "u"}}},
		{"uri, parameter overrides", "postgresql://u@h?user=v&host=", pg.Conninfo{{"user", "v"}, {"host", ""}}},
		{"uri, ssl=true", "postgresql://h?ssl=true", pg.Conninfo{{"host", "h"}, {"sslmode", "require"}}},
		{"uri, ends with &", "postgresql://h?user=u&", pg.Conninfo{{"host", "h"}, {"user", "u"}}},
		{"uri, beyond ASCII", "postgresql://k%C3%A4se:\u00e4@h", pg.Conninfo{{"user", "käse"}, {"password", "ä"}, {"host", "h"}}},
	}
}

func TestParseConninfo(t *testing.T) {
	for _, tt := range goodConninfos() {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pg.ParseConninfo(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tt.in, diff)
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// badConninfos all have a password in the wrong place; libpq refuses them too.
func badConninfos() []string {
	return []string{
		"password=top s3cret",
		"password='top s3cret",
		`password='s3cret\'`,
		"s3cret",
		"=s3cret",
		"host = a 'user'=s3cret",
		"password=a top-s3cret=b",
		"postgresql://u:%s3cret@h",
		"postgresql://u:s3cret%00@h",
		"postgresql://u:s3cret%4",
		"postgresql://u:s3cret@[::1",
		"postgresql://u:s3cret@[]",
		"postgresql://u:s3cret@[::1]x",
		"postgresql://u@h?s3cret",
		"postgresql://u@h?password=s3cret=1",
		"postgresql://u@h?=s3cret",
		"postgresql://u@h?user=a&&password=s3cret",
		"postgresql://u@h?pass%zzword=s3cret",
	}
}

func TestParseConninfoRefuses(t *testing.T) {
	bad := append(badConninfos(), "password=s3cret\x00", "postgresql://u:top s3cret@h") // libpq cannot be given the one and took the other until 16
	for _, s := range bad {
		c, err := pg.ParseConninfo(s)
		switch {
		case err == nil:
			t.Errorf("%q is taken for %v", s, c)
		case strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%q: the error quotes the password: %v", s, err)
		}
	}
}

func TestConninfoEdit(t *testing.T) {
	c, err := pg.ParseConninfo("user=u password='p w' host=a sslpassword=k")
	if err != nil {
		t.Fatal(err)
	}
	before := c
	c.Set("host", "b,c")
	c.Set("application_name", "it's n1")
	if v, ok := c.Get("host"); v != "b,c" || !ok {
		t.Errorf("Get(host) = %q, %v", v, ok)
	}
	if v, ok := c.Get("port"); v != "" || ok {
		t.Errorf("Get(port) = %q, %v", v, ok)
	}
	if got, want := c.String(), `user=u password='p w' host=b,c sslpassword=k application_name='it\'s n1'`; got != want {
		t.Errorf("String()\n got %s\nwant %s", got, want)
	}
	if got, want := c.Redacted(), `user=u password=*** host=b,c sslpassword=*** application_name='it\'s n1'`; got != want {
		t.Errorf("Redacted()\n got %s\nwant %s", got, want)
	}
	if got, want := c.Without("password", "sslpassword", "nothing").String(), `user=u host=b,c application_name='it\'s n1'`; got != want {
		t.Errorf("Without()\n got %s\nwant %s", got, want)
	}
	c.Delete("user")
	c.Delete("nothing")
	if _, ok := c.Get("user"); ok {
		t.Error("Delete did not")
	}
	if got, want := before.String(), "user=u password='p w' host=a sslpassword=k"; got != want {
		t.Errorf("the copy made before changed to %s", got)
	}
}

func TestConninfoValidate(t *testing.T) {
	for _, c := range []pg.Conninfo{
		{{"", "x"}}, {{"a b", "x"}}, {{"a=b", "x"}}, {{"host", "x\x00"}}, {{"host", "a"}, {"host", "b"}},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%q is valid", c)
		}
	}
}

func TestConninfoRoundTrip(t *testing.T) {
	value := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune(`'\ ="=#%&@/:?a`+"\t\n"))))
	rapid.Check(t, func(t *rapid.T) {
		var want pg.Conninfo
		for _, key := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z_]{1,8}`), 0, 5, rapid.ID).Draw(t, "keys") {
			want.Set(key, strings.ReplaceAll(value.Draw(t, key), "\x00", ""))
		}
		got, err := pg.ParseConninfo(want.String())
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got)\n%s", want, diff)
		}
	})
}

func FuzzParseConninfo(f *testing.F) {
	for _, tt := range goodConninfos() {
		f.Add(tt.in)
	}
	for _, s := range badConninfos() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var c pg.Conninfo
		var err error
		rewindtest.BoundedAllocation(t, len(s), func() { c, err = pg.ParseConninfo(s) })
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		again, err := pg.ParseConninfo(c.String())
		if err != nil || !cmp.Equal(c, again) {
			t.Fatalf("%q printed and read again: %q, %v", c, again, err)
		}
		if shown, err := pg.ParseConninfo(c.Redacted()); err != nil || len(shown) != len(c) {
			t.Fatalf("redacted form %q: %v", c.Redacted(), err)
		}
	})
}
