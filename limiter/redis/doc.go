// Package redis shares the counts of limiters between nodes, by Redis 6 or newer, or
// Valkey: one server, Sentinels or a Cluster.
//
// It owns the exchange and what is kept in Redis. It does not own the limits, nor
// requests: in mode Async, the default, no request waits for it or knows of it. A
// Syncer is for one process and all of its limiters.
//
// # Async
//
// A node decides by itself, with what it knows. Every interval T, 100 ms or a tenth of
// the shortest window and a quarter of that while a key is close to its limit, it
// tells in one pipelined round trip what was taken there since, and gets back what all
// nodes have taken of the same keys. Only keys that were charged since the last time
// are exchanged.
//
// Let P be the longest time that an exchange takes. A node that takes of a key learns within
// T + P what others had told, and they had told it within T. So from the moment at
// which all together have reached the limit each node goes on for at most 2T + P of the
// time in which it is asked, and then knows enough to refuse. With N nodes which are
// asked for λ₁ … λ_N units a second of one key then, and Λ for their sum, more than the
// limit is admitted by at most
//
//	fixed and sliding windows   min(Λ·(2T+P), (N-1)·limit)              per window
//	token buckets and GCRA      min(Λ·(2T+P), (N-1)·(burst + rate·(2T+P))) + rate·T
//
// and, since requests have a cost, by one request per node. What is above the limit of a
// bucket is a debt that all nodes wait for, so that in the long run no more than its rate
// is admitted; rate·T is there because consumption that is told once per interval is
// taken to have come evenly within it. A window forgets at its end. While a key is close to
// its limit T is a quarter.
//
// A key costs about 5 µs in an exchange, nearly all of it Redis's. What is too much for one
// exchange, more than 8192 keys, is told in several that follow one another, and T is
// what that takes.
//
// SlidingLog and Concurrency are not exchanged but divided: each node admits limit ÷
// live nodes, at least 1. The first promises to be exact, which what comes late is
// not; of the second what matters is who holds, and a node that dies would hold until
// a lease ends. Uneven load gets less from them than the limit.
//
// # Exact
//
// Decide asks Redis about every request, in one round trip with a time limit. Nothing is
// admitted above the limit as long as Redis answers. Both modes keep the same counts.
//
// # When Redis is slow, down, frozen, restarting or failing over
//
// After the first exchange that does not succeed within Options.Timeout, and until
// one does, each node admits limit ÷ live nodes of every limit, at least one unit per
// window. How many live is known from the heartbeats before; at the very start it is
// Options.Nodes. Until a node notices, which takes up to T + Timeout, it knows as
// little of the others as in the formula with P = Timeout. Afterwards counts are
// told as they are and the limits are whole again. Nothing waits, and nothing is
// unlimited, unless Options.OnFailure is Allow. Of a Cluster any server that does not
// answer counts as Redis being away.
//
// A batch whose answer is lost is sent again under its number, and counts once. When
// Redis loses its data, the nodes bring back what they remember with the next batch about
// a key: a window begins with the largest count that any of them knew, and what they
// take from then on is added. What is lost is what one node had told and no other had
// asked for if that node is gone too. A replica that takes over lacks what it had not
// received, which is lost if the nodes do not find out.
//
// # Clocks
//
// Buckets are kept by Redis's time. Windows of a duration begin by it too: every
// exchange measures how far it is from the node's clock, and the limiters follow when
// it is more than the exchange explains. Calendar quotas go by the wall clock of each
// node: nodes that are apart by some time disagree for so long at midnight on the
// day to which units belong.
//
// # Memory in Redis
//
// A key per rule and client, and for windows per window, of about 150 bytes. It expires
// when it stops to matter. Names begin with Options.Prefix and contain hashes only.
package redis
