package patroniconf

// ReplicaMethods are how Patroni makes a replica, as far as its files say.
type ReplicaMethods struct {
	// Order of create_replica_methods; empty where the files have none.
	Order []string
	// Described are the methods that have a section of their own.
	Described map[string]ReplicaMethod
}

// ReplicaMethod is how Patroni calls a method.
type ReplicaMethod struct {
	// Command, by default the name of the method.
	Command string
	// KeepData: the data directory is left to the method.
	KeepData bool
}

// ReplicaMethods reads postgresql.create_replica_methods. What is not as Patroni has
// it is left out: it stands there for Patroni to complain about.
func (c *Config) ReplicaMethods() ReplicaMethods {
	m := ReplicaMethods{Described: map[string]ReplicaMethod{}}
	section := c.root.get("postgresql")
	for _, key := range []string{"create_replica_methods", "create_replica_method"} {
		if list := section.get(key); len(m.Order) == 0 && list != nil {
			for _, item := range list.items {
				m.Order = append(m.Order, item.text)
			}
		}
	}
	if section == nil {
		return m
	}
	for name, method := range section.keys {
		if method.kind == kindMapping {
			d := ReplicaMethod{Command: name, KeepData: truthy(method.get("keep_data"))}
			if command := method.get("command"); command != nil {
				d.Command = command.text
			}
			m.Described[name] = d
		}
	}
	return m
}

// truthy is the truth of a value in Python, where the word false is true.
func truthy(n *node) bool {
	switch {
	case n == nil:
		return false
	case n.kind == kindBool, n.kind == kindNumber:
		switch n.text {
		case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "0":
			return false
		}
		return true
	case n.kind == kindText:
		return n.text != ""
	}
	return len(n.items)+len(n.keys) > 0
}
