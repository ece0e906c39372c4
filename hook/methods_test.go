package hook

import (
	"strings"
	"testing"

	"github.com/failback-hook/failback-hook/dcs"
)

func TestWouldCopy(t *testing.T) {
	described := func(m ReplicaMethod) map[string]ReplicaMethod { return map[string]ReplicaMethod{"failback": m} }
	ours := &ReplicaMethods{Order: []string{"failback", "basebackup"}, Described: described(ReplicaMethod{"/usr/bin/failback-hook create-replica", true})}
	for _, test := range []struct {
		name    string
		local   *ReplicaMethods
		cluster dcs.Config
		want    string
	}{
		{"not known", nil, dcs.Config{}, ""},
		{"ours first", ours, dcs.Config{}, ""},
		{"ours first, whatever is in etcd", ours, dcs.Config{ReplicaMethods: []string{"basebackup"}}, ""},
		{"ours, without keep_data", &ReplicaMethods{Order: []string{"failback"}, Described: described(ReplicaMethod{"failback-hook create-replica", false})}, dcs.Config{}, "no keep_data"},
		{"another's, that restores over it", &ReplicaMethods{Order: []string{"failback"}, Described: described(ReplicaMethod{"pgbackrest --delta restore", true})}, dcs.Config{}, "does not call failback-hook"},
		{"ours, described in etcd", &ReplicaMethods{Order: []string{"failback"}}, dcs.Config{}, ""},
		{"a copy first", &ReplicaMethods{Order: []string{"basebackup", "failback"}}, dcs.Config{}, "in its own configuration is basebackup"},
		{"none in the file", &ReplicaMethods{}, dcs.Config{}, "by default"},
		{"none in the file, one in etcd", &ReplicaMethods{}, dcs.Config{ReplicaMethods: []string{"failback"}}, ""},
		{"a copy by etcd alone", nil, dcs.Config{ReplicaMethods: []string{"basebackup"}}, "in the cluster's configuration is basebackup"},
		{"standby cluster without methods", ours, dcs.Config{StandbyCluster: true}, "standby_cluster.create_replica_methods, where there is none"},
		{"standby cluster that copies", ours, dcs.Config{StandbyCluster: true, ReplicaMethods: []string{"basebackup"}}, "standby_cluster.create_replica_methods is basebackup"},
		{"standby cluster with ours", nil, dcs.Config{StandbyCluster: true, ReplicaMethods: []string{"failback", "basebackup"}}, ""},
	} {
		got := wouldCopy(test.local, test.cluster)
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
