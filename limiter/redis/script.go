package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // the name that Redis gives a script
	"encoding/hex"
	"slices"

	"github.com/redis/rueidis"
)

// The scripts need Redis 5 or Valkey: they write after they asked for the time. Each
// touches keys of one hash tag. Numbers are doubles; times are in ms.
//
// A bucket is kept as "level time". Consumption is told once per interval and is taken to
// have been spread over it. So a bucket may have a credit, a level below 0, of what flows
// in during the teller's interval: what others took in the same interval fits in there,
// and nobody is refused because deltas come in lumps. A window is kept as "level base", in a
// key that is named by the window's start.

// exchangeSource adds what a node took and returns what all took.
//
// KEYS: the node's last batch, the epoch, and one per entry.
// ARGV: number of the batch; the epoch that the node knows or ""; the epoch to begin if
// there is none; per entry "b" units level rate dt repair or "w" units level end 0 repair,
// of which repair is 1 or 0.
//
// A batch that comes again, because its answer was lost, adds nothing. A key that does not
// exist begins with what the node knows, and so survives a loss of data: of a window
// that is its base, to which all is added that is taken from then on. If another node
// that knew less was faster, the first batch that the node sends of a key after the loss
// repairs it: the base becomes the larger one.
const exchangeSource = `
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local fresh = tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or '-1')
if fresh then redis.call('SET', KEYS[1], ARGV[1], 'PX', 3600000) end
local epoch = redis.call('GET', KEYS[2])
if not epoch then epoch = ARGV[3] end
redis.call('SET', KEYS[2], epoch, 'PX', 604800000)
local lost = ARGV[2] ~= '' and ARGV[2] ~= epoch
local out = {epoch, string.format('%.3f', now)}
for i = 3, #KEYS do
  local a = 4 + (i - 3) * 6
  local units, level, x, dt = tonumber(ARGV[a+1]), tonumber(ARGV[a+2]), tonumber(ARGV[a+3]), tonumber(ARGV[a+4])
  local repair = lost or ARGV[a+5] == '1'
  local raw = redis.call('GET', KEYS[i])
  local g
  if ARGV[a] == 'b' then
    local credit = x * dt
    if raw then
      local l, at = string.match(raw, '(%S+) (%S+)')
      g = math.max(-credit, l - x * math.max(0, now - at))
      if fresh then g = g + units end
      if repair then g = math.max(g, level - credit) end
    else
      g = math.max(level, units) - credit
    end
    redis.call('SET', KEYS[i], string.format('%.17g %.3f', g, now), 'PX', string.format('%.0f', math.min(1e15, math.ceil(1000 + 2 * dt + math.max(0, g) / x))))
  else
    local base, known = 0, math.max(0, level - units)
    if raw then
      g, base = string.match(raw, '(%S+) (%S+)')
      g, base = tonumber(g), tonumber(base)
      if fresh then g = g + units end
      if repair and known > base then
        g, base = g + known - base, known
      end
    else
      g, base = known + units, known
    end
    redis.call('SET', KEYS[i], string.format('%.17g %.17g', g, base), 'PX', string.format('%.0f', math.max(1000, math.ceil(x - now))))
  end
  out[i] = string.format('%.17g', math.max(0, g))
end
return out`

// decideSource takes cost units of all rules or of none.
//
// KEYS: two per rule: the bucket or window, and the window before (or the first again).
// ARGV: cost; per rule the kind, "b" bucket, "f" window or "s" sliding window; limit
// (burst for a bucket); rate in units per ms, or the end of the key's life; the start of
// the window; its length; 1 if the rule only observes.
// Returns 1 or 0 whether it is allowed, and per rule its level and that of the
// window before. A rule that observes is charged only if it has enough left.
//
//nolint:dupword // blocks of Lua end like that
const decideSource = `
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local cost = tonumber(ARGV[1])
local need = math.max(1, cost)
local allowed = 1
local levels, befores, spared, base = {}, {}, {}, {}
for i = 1, #KEYS / 2 do
  local a = 2 + (i - 1) * 6
  local kind, limit, x, start, window = ARGV[a], tonumber(ARGV[a+1]), tonumber(ARGV[a+2]), tonumber(ARGV[a+3]), tonumber(ARGV[a+4])
  local raw = redis.call('GET', KEYS[2*i-1])
  local g, before, carried = 0, 0, 0
  if kind == 'b' then
    if raw then
      local l, at = string.match(raw, '(%S+) (%S+)')
      g = math.max(0, l - x * math.max(0, now - at))
    end
  else
    g, base[i] = string.match(raw or '0 0', '(%S+) (%S+)')
    g = tonumber(g)
    if kind == 's' then
      before = tonumber(string.match(redis.call('GET', KEYS[2*i]) or '0', '%S+'))
      carried = math.ceil(before * math.min(1, math.max(0, 1 - (now - start) / window)))
    end
  end
  levels[i], befores[i] = g, before
  if limit - g - carried < need - 1e-9 then
    spared[i] = true
    if ARGV[a+5] ~= '1' then allowed = 0 end
  end
end

local out = {allowed}
for i = 1, #KEYS / 2 do
  local a = 2 + (i - 1) * 6
  local x = tonumber(ARGV[a+2])
  if allowed == 1 and cost > 0 and not spared[i] then
    local g = levels[i] + cost
    levels[i] = g
    if ARGV[a] == 'b' then
      redis.call('SET', KEYS[2*i-1], string.format('%.17g %.3f', g, now), 'PX', string.format('%.0f', math.min(1e15, math.ceil(1000 + g / x))))
    else
      redis.call('SET', KEYS[2*i-1], string.format('%.17g ', g) .. base[i], 'PX', string.format('%.0f', math.max(1000, math.ceil(x - now))))
    end
  end
  out[2*i], out[2*i+1] = string.format('%.17g', levels[i]), string.format('%.17g', befores[i])
end
return out`

// beatSource tells that a node lives, and returns how many do.
//
// KEYS: the nodes. ARGV: the node; after how many ms without a sign it is dead.
const beatSource = `
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
redis.call('ZADD', KEYS[1], string.format('%.3f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.3f', now - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 60000)
return {string.format('%.3f', now), redis.call('ZCARD', KEYS[1])}`

// script is one that Redis may know by its hash.
type script struct{ source, hash string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // the name that Redis gives a script
	return script{source: source, hash: hex.EncodeToString(sum[:])}
}

// scripts are all that is run on Redis.
type scripts struct{ exchange, decide, beat script }

func newScripts() scripts {
	return scripts{exchange: newScript(exchangeSource), decide: newScript(decideSource), beat: newScript(beatSource)}
}

// invocation is a script with its arguments.
type invocation struct {
	script     script
	keys, args []string
}

func (i invocation) command(c rueidis.Client, whole bool) rueidis.Completed {
	if whole {
		return c.B().Eval().Script(i.script.source).Numkeys(int64(len(i.keys))).Key(i.keys...).Arg(i.args...).Build()
	}
	return c.B().Evalsha().Sha1(i.script.hash).Numkeys(int64(len(i.keys))).Key(i.keys...).Arg(i.args...).Build()
}

// invoke runs scripts in one round trip, and in a second one those that Redis did not
// know, which is after it has started.
func invoke(ctx context.Context, c rueidis.Client, calls []invocation) []rueidis.RedisResult {
	results := send(ctx, c, calls, false)
	var unknown []int
	for i := range results {
		if e, ok := rueidis.IsRedisErr(results[i].Error()); ok && e.IsNoScript() {
			unknown = append(unknown, i)
		}
	}
	if len(unknown) == 0 {
		return results
	}
	again := make([]invocation, len(unknown))
	for n, i := range unknown {
		again[n] = calls[i]
	}
	results = slices.Clone(results)
	for n, r := range send(ctx, c, again, true) {
		results[unknown[n]] = r
	}
	return results
}

func send(ctx context.Context, c rueidis.Client, calls []invocation, whole bool) []rueidis.RedisResult {
	commands := make([]rueidis.Completed, len(calls))
	for i, call := range calls {
		commands[i] = call.command(c, whole)
	}
	return c.DoMulti(ctx, commands...)
}
