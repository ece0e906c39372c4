package patroniconf

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReplicaMethods(t *testing.T) {
	for _, test := range []struct {
		text string
		want ReplicaMethods
	}{
		{"create_replica_methods: [failback, basebackup]\n  failback: {command: a, keep_data: true}\n  basebackup: {checkpoint: fast}",
			ReplicaMethods{[]string{"failback", "basebackup"}, map[string]ReplicaMethod{"failback": {"a", true}, "basebackup": {"basebackup", false}}}},
		{"create_replica_method:\n  - wal_e\n  wal_e: {keep_data: no}", ReplicaMethods{[]string{"wal_e"}, map[string]ReplicaMethod{"wal_e": {"wal_e", false}}}},
		{"create_replica_methods: []\n  create_replica_method: [old]\n  old: {keep_data: 'no'}", ReplicaMethods{[]string{"old"}, map[string]ReplicaMethod{"old": {"old", true}}}},
		{"use_slots: true", ReplicaMethods{Described: map[string]ReplicaMethod{}}},
		{"create_replica_methods: failback", ReplicaMethods{Described: map[string]ReplicaMethod{}}},
	} {
		c, err := Read([]File{{Name: "p.yml", Content: []byte("scope: main\nname: n1\netcd3: {host: h}\npostgresql:\n  " + test.text + "\n")}}, nil)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if diff := cmp.Diff(test.want, c.ReplicaMethods()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.text, diff)
		}
	}
}
