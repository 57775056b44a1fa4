package redis_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/salgue441/velocity/internal/testkit"
	"github.com/salgue441/velocity/limiter"
	"github.com/salgue441/velocity/limiter/redis"
)

// sameCounts takes many keys on one node and looks for them on another.
func sameCounts(t *testing.T, fleet []*node) {
	t.Helper()
	for i := range uint64(50) {
		k := limiter.Key{Hi: i * 0x9E3779B97F4A7C15, Lo: i + 1}
		for range 10 {
			fleet[0].ask(k)
		}
	}
	settled(t, fleet)
	for i := range uint64(50) {
		fleet[1].ask(limiter.Key{Hi: i * 0x9E3779B97F4A7C15, Lo: i + 1})
	}
	settled(t, fleet)
	for i := range uint64(50) {
		d, _ := fleet[1].l.Read(limiter.Key{Hi: i * 0x9E3779B97F4A7C15, Lo: i + 1}, fleet[1].now())
		if d[0].Remaining != 89 {
			t.Fatalf("key %d: %d left, want 89", i, d[0].Remaining)
		}
	}
}

// TestCluster has two servers that share the slots, so that batches go to both.
func TestCluster(t *testing.T) {
	t.Parallel()
	var servers []*testkit.Redis
	for range 2 {
		servers = append(servers, testkit.StartRedis(t, "--cluster-enabled", "yes"))
	}
	for i, r := range servers {
		slots := []string{"CLUSTER", "ADDSLOTS"}
		for s := i * 8192; s < (i+1)*8192; s++ {
			slots = append(slots, fmt.Sprint(s))
		}
		if got := r.Do(t, slots...); got != "+OK" {
			t.Fatal(got)
		}
		r.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	host, port, _ := net.SplitHostPort(servers[1].Addr)
	servers[0].Do(t, "CLUSTER", "MEET", host, port)
	for i, r := range servers {
		testkit.Eventually(t, testkit.Patience, "the cluster to be whole", func() bool {
			return r.Do(t, "SET", "{a}", "1") != "" && r.Do(t, "CLUSTER", "COUNTKEYSINSLOT", "0") == ":0" && clusterKnows(t, servers[i], 2)
		})
	}
	with := func(_ int, o *redis.Options, _ *node) { o.Cluster = true }
	fleet := start(t, servers[0], setting{nodes: 2, rules: perYear(100), with: with})
	sameCounts(t, fleet)
	for i, r := range servers {
		if n := r.Do(t, "DBSIZE"); n == ":0" {
			t.Errorf("server %d got nothing", i)
		}
	}
	servers[1].Kill(t)
	testkit.Eventually(t, testkit.Patience, "a failure", func() bool {
		for i := range uint64(50) {
			fleet[0].ask(limiter.Key{Hi: i * 0x9E3779B97F4A7C15, Lo: i + 1})
		}
		return !fleet[0].s.State().Connected
	})
}

// clusterKnows reports whether a server sees so many others that own slots and a healthy state.
func clusterKnows(t *testing.T, r *testkit.Redis, nodes int) bool {
	t.Helper()
	return r.Do(t, "CLUSTER", "SLOTS") == fmt.Sprintf("*%d", nodes) && r.Do(t, "EVAL", "return redis.call('GET','{b}')", "1", "{b}") != "-CLUSTERDOWN The cluster is down"
}

// TestSentinel kills the master. The nodes follow the Sentinel to the replica.
func TestSentinel(t *testing.T) {
	t.Parallel()
	master := testkit.StartRedis(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := testkit.StartRedis(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	testkit.Eventually(t, testkit.Patience, "the replica to follow", func() bool { return master.Do(t, "WAIT", "1", "100") == ":1" })
	sentinel := testkit.StartSentinel(t, "main", master)
	testkit.Eventually(t, testkit.Patience, "the Sentinel to find the replica", func() bool {
		return sentinel.Do(t, "SENTINEL", "REPLICAS", "main") == "*1"
	})
	with := func(_ int, o *redis.Options, _ *node) { o.Master = "main" }
	fleet := start(t, sentinel, setting{nodes: 2, rules: perYear(100), with: with})
	sameCounts(t, fleet)
	take(t, fleet[0], 20)
	settled(t, fleet)
	master.Kill(t)
	connected(t, fleet, false)
	for _, n := range fleet {
		testkit.Eventually(t, 30*time.Second, "the replica to take over", func() bool { return n.s.State().Connected })
	}
	settled(t, fleet)
	take(t, fleet[1], 5)
	settled(t, fleet)
	if n := left(fleet[1]); n != 75 {
		t.Errorf("%d left, want 75", n)
	}
	if n := replica.Do(t, "DBSIZE"); n == ":0" {
		t.Error("the replica got nothing")
	}
}

// TestUnixSocket connects by a path.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	fleet := start(t, server, setting{nodes: 2, rules: perYear(100), with: func(_ int, o *redis.Options, _ *node) { o.Addresses = []string{server.Socket} }})
	sameCounts(t, fleet)
}

// TestPassword is refused without one.
func TestPassword(t *testing.T) {
	t.Parallel()
	server := testkit.StartRedis(t)
	server.Do(t, "ACL", "SETUSER", "gateway", "on", ">secret", "~*", "+@all")
	server.Do(t, "ACL", "SETUSER", "default", "off")
	password := "secret"
	fleet := start(t, server, setting{nodes: 2, rules: perYear(100), with: func(_ int, o *redis.Options, _ *node) {
		o.Username, o.Password, o.DB = "gateway", password, 3
	}})
	sameCounts(t, fleet)
	password = "wrong"
	other := launch(t, server, setting{nodes: 1, rules: perYear(100), with: func(_ int, o *redis.Options, _ *node) {
		o.Username, o.Password = "gateway", password
	}})
	testkit.Eventually(t, testkit.Patience, "a failure", func() bool { return other[0].s.State().Failures > 0 })
	if other[0].s.State().Connected {
		t.Error("connected with a wrong password")
	}
}
