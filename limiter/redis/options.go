package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/salgue441/velocity/limiter"
)

// Failure is what becomes of requests while Redis cannot be asked.
type Failure string

// The behaviours.
const (
	// Share lets every node admit its part of each limit, limit ÷ live nodes. It is the
	// default.
	Share Failure = "share"
	// Deny refuses everything that is limited.
	Deny Failure = "deny"
	// Allow refuses nothing.
	Allow Failure = "allow"
)

// Defaults of Options.
const (
	DefaultInterval     = 100 * time.Millisecond
	DefaultTimeout      = 250 * time.Millisecond
	DefaultExactTimeout = 50 * time.Millisecond
	DefaultPrefix       = "velocity"
	DefaultTags         = 16
)

const (
	shortestInterval = 5 * time.Millisecond
	longestInterval  = time.Minute
	mostTags         = 1024
	dialTimeout      = time.Second
)

// Options say where Redis is and how it is used. Addresses and Now are needed.
type Options struct {
	// Addresses are host:port, or the path of a Unix socket: of one server, of some
	// nodes of a Cluster, or, with Master, of the Sentinels.
	Addresses []string
	// Cluster says that Addresses are those of a Redis Cluster.
	Cluster bool
	// Master is the name by which Sentinels know the server; "" is without them.
	Master string
	// Username and Password are for Redis, and SentinelUsername and
	// SentinelPassword for the Sentinels. "" is none.
	Username, Password                 string
	SentinelUsername, SentinelPassword string
	// DB is the number of the database. A Cluster has only 0.
	DB int
	// TLS, unless nil, is for Redis and the Sentinels.
	TLS *tls.Config

	// Prefix begins the name of every key; "" is DefaultPrefix. Nodes with the
	// same prefix share counts.
	Prefix string
	// Tags is over how many hash tags, and so slots of a Cluster, the keys are spread;
	// 0 is DefaultTags for a Cluster and else 1. It has to be the same on all nodes.
	Tags int
	// Node names this process while it lives, and must not be used by another at the
	// same time; "" makes a random name.
	Node string
	// Nodes is how many there are thought to be until Redis has told once; 0 is 1.
	Nodes int

	// Interval is the longest time between two exchanges while something is taken; 0
	// is DefaultInterval. It is shortened to a tenth of the shortest window, and to a
	// quarter while a key comes close to its limit.
	Interval time.Duration
	// Timeout limits one exchange; 0 is DefaultTimeout.
	Timeout time.Duration
	// ExactTimeout limits Decide; 0 is DefaultExactTimeout.
	ExactTimeout time.Duration
	// OnFailure defaults to Share.
	OnFailure Failure

	// Now reads the clocks, in the same way as requests do.
	Now func() limiter.Instant
	// OnChange, unless nil, is told when the state changes in Connected or Nodes or
	// Losses, one call at a time, and must not call the Syncer. It is for logs.
	OnChange func(State)
}

// withDefaults returns the options with defaults, or all that is wrong with them.
func (o Options) withDefaults() (Options, error) {
	var problems []error
	complain := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	o.Prefix = cmp.Or(o.Prefix, DefaultPrefix)
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.ExactTimeout = cmp.Or(o.ExactTimeout, DefaultExactTimeout)
	o.OnFailure = cmp.Or(o.OnFailure, Share)
	o.Nodes = cmp.Or(o.Nodes, 1)
	o.Node = cmp.Or(o.Node, rand.Text())
	if o.Tags == 0 {
		o.Tags = 1
		if o.Cluster {
			o.Tags = DefaultTags
		}
	}
	if len(o.Addresses) == 0 {
		complain("no address")
	}
	if o.Now == nil {
		complain("no clock")
	}
	if o.Cluster && o.Master != "" {
		complain("a server that Sentinels watch is not a Cluster")
	}
	if !o.Cluster && o.Master == "" && len(o.Addresses) > 1 {
		complain("several addresses are for a Cluster or Sentinels")
	}
	if o.Cluster && o.DB != 0 || o.DB < 0 {
		complain("database %d does not exist", o.DB)
	}
	if o.Interval < shortestInterval || o.Interval > longestInterval {
		complain("interval must be %v to %v", shortestInterval, longestInterval)
	}
	if o.Timeout < 0 || o.ExactTimeout < 0 {
		complain("time limits must be positive")
	}
	if o.Tags < 0 || o.Tags > mostTags {
		complain("tags must be 0 to %d", mostTags)
	}
	if o.Nodes < 0 {
		complain("nodes must not be negative")
	}
	if o.OnFailure != Share && o.OnFailure != Deny && o.OnFailure != Allow {
		complain("unknown behaviour %q on failure, want %s, %s or %s", o.OnFailure, Share, Deny, Allow)
	}
	return o, errors.Join(problems...)
}

// client is the options of the client. Commands are never sent twice by it: batches
// have numbers and are sent again by us. A server that accepts and does not answer is
// given up after a second, so that commands do not pile up in the connection.
func (o Options) client() rueidis.ClientOption {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: time.Second}
	c := rueidis.ClientOption{
		InitAddress: o.Addresses, Username: o.Username, Password: o.Password, SelectDB: o.DB, TLSConfig: o.TLS,
		Dialer: dialer, ConnWriteTimeout: max(time.Second, 2*o.Timeout, 2*o.ExactTimeout),
		DisableCache: true, DisableRetry: true, AlwaysPipelining: true, PipelineMultiplex: -1,
		ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
		ForceSingleClient: !o.Cluster && o.Master == "",
		ClientName:        "velocity",
		DialCtxFn:         dial,
	}
	if o.Master != "" {
		c.Sentinel = rueidis.SentinelOption{
			Dialer: dialer, TLSConfig: o.TLS, MasterSet: o.Master, Username: o.SentinelUsername, Password: o.SentinelPassword,
			TopologyRefreshInterval: 5 * time.Second,
		}
	}
	return c
}

// dial connects to host:port or to a Unix socket.
func dial(ctx context.Context, address string, d *net.Dialer, config *tls.Config) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	if config == nil {
		return d.DialContext(ctx, network, address)
	}
	return (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, network, address)
}
