package dcs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxPrimaries bounds the servers of which one is the primary of a standby cluster.
const maxPrimaries = 64

// parseStandbyCluster reads the section of Patroni's dynamic configuration that
// makes a cluster follow a primary outside of it. By Patroni's rule it counts when it
// says where the primary or its archive is. Host and port are lists with commas, of
// the same length or with one port for all.
func parseStandbyCluster(value json.RawMessage) (is bool, primary []Address) {
	section, err := object(value)
	if err != nil {
		return false, nil
	}
	for _, key := range []string{"host", "port", "restore_command"} {
		is = is || given(section[key])
	}
	if !given(section["host"]) {
		return is, nil
	}
	primary, err = parseAddresses(words(section["host"]), words(section["port"]))
	if err != nil {
		return is, nil
	}
	return is, primary
}

// given tells whether a value counts as one in Python.
func given(value json.RawMessage) bool {
	switch string(bytes.TrimSpace(value)) {
	case "", "null", `""`, "0", "false", "[]", "{}":
		return false
	}
	return true
}

// words reads a list with commas, or a list of JSON; a number is a word too.
func words(value json.RawMessage) []string {
	var list []any
	if json.Unmarshal(value, &list) != nil {
		var one any
		if json.Unmarshal(value, &one) != nil || one == nil {
			return nil
		}
		list = []any{one}
	}
	var all []string
	for _, item := range list {
		for word := range strings.SplitSeq(fmt.Sprint(item), ",") {
			all = append(all, strings.TrimSpace(word))
		}
	}
	return all
}

// parseAddresses pairs hosts and ports. What comes out is connected to with a
// password: hosts have to look like hosts, as in a conn_url.
func parseAddresses(hosts, ports []string) ([]Address, error) {
	if len(hosts) > maxPrimaries || len(ports) > 1 && len(ports) != len(hosts) {
		return nil, fmt.Errorf("%d hosts with %d ports", len(hosts), len(ports))
	}
	var all []Address
	for i, host := range hosts {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if _, _, err := nonEmpty(host, ""); err != nil {
			return nil, err
		}
		port := uint64(defaultPostgresPort)
		if len(ports) > 0 {
			text := ports[min(i, len(ports)-1)]
			n, err := strconv.ParseUint(text, 10, 16)
			if text != "" && (err != nil || n == 0) {
				return nil, fmt.Errorf("port %q is not a number from 1 to 65535", text)
			}
			if text != "" {
				port = n
			}
		}
		all = append(all, Address{Host: host, Port: uint16(port)})
	}
	return all, nil
}
