package admin

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// newLimits is what docs/admin.md shows, and a limit whose name and keys need to
// be encoded.
func newLimits() []RateLimit {
	return []RateLimit{{
		Name: usersName, Routes: []string{"users"}, Mode: LimitAsync, Key: "${client_net}",
		Rules: []RateLimitRule{
			{Name: "second", Algorithm: "token_bucket", Limit: 10, Window: "1s", Burst: 20, Refused: 57},
			{Name: "month", Algorithm: "fixed_window", Limit: 100000, Period: "month", Observe: true, Observed: 3},
		},
		Plans: []RateLimitPlan{{Name: "gold", Rules: []RateLimitRule{
			{Name: "minute", Algorithm: "sliding_window", Limit: 6000, Window: "1m"},
		}}},
		Keys: 812, MaxKeys: 65536, Admitted: 48210, Evicted: 14,
		TopRefused: []RefusedKey{{Key: "192.0.2.7", Refused: 55}, {Key: "2001:db8::/64", Refused: 2, Excess: 1}},
		Store:      &LimitStore{Connected: true, LagMS: 42.5, RoundTripMS: 0.5, Nodes: 3},
	}}
}

func newKeys() map[limitKey]KeyState {
	return map[limitKey]KeyState{
		{usersName, "", "192.0.2.7"}: {Limit: usersName, Key: "192.0.2.7", Rules: []KeyRule{
			{Name: "second", Limit: 20, Remaining: -1, ResetSeconds: 2.1, RetryAfterSeconds: new(0.2)},
			{Name: "month", Limit: 100000, Remaining: 91250, ResetSeconds: 2386800, RetryAfterSeconds: new(0.0)},
		}},
		{usersName, "gold", "192.0.2.7"}: {Limit: usersName, Plan: "gold", Key: "192.0.2.7", Rules: []KeyRule{
			{Name: "concurrent", Limit: 4},
		}},
	}
}

func (g *gateway) RateLimits() []RateLimit { return g.limits }

func (g *gateway) RateLimitKey(name, plan, key string) (KeyState, error) {
	if err := g.findKey(limitKey{name, plan, key}); err != nil {
		return KeyState{}, err
	}
	return g.known[limitKey{name, plan, key}], nil
}

func (g *gateway) ResetRateLimitKey(name, plan, key string) error {
	if err := g.findKey(limitKey{name, plan, key}); err != nil {
		return err
	}
	delete(g.known, limitKey{name, plan, key})
	return nil
}

func (g *gateway) findKey(k limitKey) error {
	if g.broken != nil {
		return g.broken
	}
	names := make([]string, len(g.limits))
	for i := range g.limits {
		names[i] = g.limits[i].Name
	}
	i := slices.Index(names, k.limit)
	if i < 0 {
		return &NotFound{Kind: KindRateLimit, Name: k.limit, Known: names}
	}
	var plans []string
	for _, p := range g.limits[i].Plans {
		plans = append(plans, p.Name)
	}
	if k.plan != "" && !slices.Contains(plans, k.plan) {
		return &NotFound{Kind: KindPlan, Name: k.plan, Known: plans}
	}
	if _, ok := g.known[k]; !ok {
		return &NotFound{Kind: KindKey, Name: k.key}
	}
	return nil
}

const (
	usersName  = "route:users"
	usersLimit = "/admin/v1/rate-limits/route:users" // a colon may be encoded and need not
)

// TestKeysAreTakenLiterally: a key is whatever a template made of a request.
func TestKeysAreTakenLiterally(t *testing.T) {
	g := newGateway()
	const name = "route:a/b c%2F"
	g.limits = append(g.limits, RateLimit{Name: name})
	keys := []string{"", "2001:db8::/64", "a b+c", "x&plan=gold", "%41", "ü?#", "\xff\x00", strings.Repeat("k", 2000)}
	for _, key := range keys {
		g.known[limitKey{name, "", key}] = KeyState{Limit: name, Key: strings.ToValidUTF8(key, "�")}
	}
	others := maps.Clone(newKeys())
	a := start(t, g, open(), nil)
	path := "/admin/v1/rate-limits/" + url.PathEscape(name) + "/keys?"
	for _, key := range keys {
		query := url.Values{"key": {key}}.Encode()
		got := a.ask(t, "GET "+path+query)
		var state KeyState
		if err := json.Unmarshal([]byte(got.body), &state); err != nil || got.status != 200 || state.Limit != name || state.Key != strings.ToValidUTF8(key, "�") {
			t.Errorf("GET %s: %d %s (%v)", query, got.status, got.body, err)
		}
		got = a.ask(t, "DELETE "+path+query)
		if got.status != 204 || got.body != "" || got.header.Get("Content-Type") != "" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("DELETE %s: %d %v %q", query, got.status, got.header, got.body)
		}
		wantProblem(t, "again: "+query, a.ask(t, "DELETE "+path+query), 404, "key_not_found")
		wantProblem(t, "read again: "+query, a.ask(t, "GET "+path+query), 404, "key_not_found")
	}
	if !reflect.DeepEqual(g.known, others) {
		t.Errorf("left are %v, want %v", g.known, others)
	}
}

func TestPlansHaveKeysOfTheirOwn(t *testing.T) {
	g := newGateway()
	a := start(t, g, open(), nil)
	got := a.ask(t, "GET "+usersLimit+"/keys?key=192.0.2.7&plan=gold")
	// No time brings back what others hold, so none is told.
	if got.status != 200 || !strings.Contains(got.body, `"plan": "gold"`) || strings.Contains(got.body, "retry_after_seconds") {
		t.Errorf("a plan's key: %d %s", got.status, got.body)
	}
	if got := a.ask(t, "DELETE "+usersLimit+"/keys?plan=gold&key=192.0.2.7"); got.status != 204 {
		t.Errorf("reset of a plan's key: %d %s", got.status, got.body)
	}
	if len(g.known) != 1 || g.known[limitKey{usersName, "", "192.0.2.7"}].Key == "" {
		t.Errorf("left is %v, want the key of no plan", g.known)
	}
}

func TestRateLimitNamesThatAreNotThere(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	f := func(path, code, detail, candidate string) {
		t.Helper()
		for _, method := range []string{"GET ", "DELETE "} {
			if method == "DELETE " && !strings.Contains(path, "/keys") {
				continue
			}
			got := a.ask(t, method+path)
			wantProblem(t, method+path, got, 404, code)
			var p problem
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Detail != detail || strings.Join(p.Candidates, " ") != candidate {
				t.Errorf("%s: %s, want detail %q and candidate %q", path, got.body, detail, candidate)
			}
		}
	}
	f("/admin/v1/rate-limits/route:user", "rate_limit_not_found", `no rate limit is named "route:user"`, usersName)
	f("/admin/v1/rate-limits/route:user/keys?key=a", "rate_limit_not_found", `no rate limit is named "route:user"`, usersName)
	f(usersLimit+"/keys?key=192.0.2.7&plan=silver", "plan_not_found", `no plan is named "silver"`, "gold")
	f(usersLimit+"/keys?key=192.0.2.8", "key_not_found", `nothing is remembered of the key "192.0.2.8"`, "")
	f(usersLimit+"/keys?key=", "key_not_found", `nothing is remembered of the key ""`, "")
}

// TestKeyThatCannotBeTold: a key that lost its end would name another one.
func TestKeyThatCannotBeTold(t *testing.T) {
	g := newGateway()
	a := start(t, g, open(), nil)
	f := func(query, detail string) {
		t.Helper()
		for _, method := range []string{"GET ", "DELETE "} {
			got := a.ask(t, method+usersLimit+"/keys"+query)
			wantProblem(t, query, got, 400, "invalid_request")
			if !strings.Contains(got.body, `"detail": "`+detail+`"`) {
				t.Errorf("%s: %s\nwant detail %s", query, got.body, detail)
			}
		}
	}
	const missing = "key: is required; it is empty for a limit that counts all requests together"
	f("", missing)
	f("?plan=gold", missing)
	f("?key=192.0.2.7&key=a", "key: is there twice")
	f("?key=192.0.2.7&plan=a&plan=gold", "plan: is there twice")
	f("?key=192.0.2.7&x=1", `unknown parameter \"x\"; key must be percent-encoded`)
	if !reflect.DeepEqual(g.known, newKeys()) {
		t.Errorf("left is %v", g.known)
	}
}

func TestKeyResetIsLogged(t *testing.T) {
	a := start(t, newGateway(), open(), nil)
	a.from("192.0.2.9")
	const message = "rate limit reset by management API"
	a.ask(t, "DELETE "+usersLimit+"/keys?key=192.0.2.8") // is not known
	a.ask(t, "GET "+usersLimit+"/keys?key=192.0.2.7")
	if n := a.logs.FilterMessage(message).Len(); n != 0 {
		t.Fatalf("logged %d times before anything was reset", n)
	}
	a.ask(t, "DELETE "+usersLimit+"/keys?key=192.0.2.7&plan=gold")
	entries := a.logs.FilterMessage(message).TakeAll()
	want := map[string]any{"peer": "192.0.2.9:50000", "limit": usersName, "plan": "gold", "key": "192.0.2.7"}
	if len(entries) != 1 || !reflect.DeepEqual(entries[0].ContextMap(), want) || entries[0].Level != zap.InfoLevel {
		t.Errorf("logged %v, want %v", entries, want)
	}
}

func TestKeyThatFails(t *testing.T) {
	g := newGateway()
	a := start(t, g, open(), nil)
	f := func(err error, status int, code string) {
		t.Helper()
		g.broken = err
		for _, method := range []string{"GET ", "DELETE "} {
			got := a.ask(t, method+usersLimit+"/keys?key=192.0.2.7")
			wantProblem(t, err.Error(), got, status, code)
			if strings.Contains(got.body, "secret") {
				t.Errorf("the cause shows: %s", got.body)
			}
			if logged := a.logs.TakeAll(); len(logged) != 1 || logged[0].Message != "rate limit key by management API" || logged[0].ContextMap()["error"] != err.Error() {
				t.Errorf("%v: logged %v", err, logged)
			}
		}
	}
	f(errors.Join(ErrNoStore, errors.New("dial secret")), 503, "store_unavailable")
	f(errors.New("secret"), 500, "internal_error")
}

func TestOneRateLimitIsThatOfTheList(t *testing.T) {
	g := newGateway()
	g.limits = append(g.limits, RateLimit{Name: "route:a/b", Mode: LimitLocal, Plans: []RateLimitPlan{{Name: "free"}}})
	a := start(t, g, open(), nil)
	var list struct {
		RateLimits []json.RawMessage `json:"rate_limits"`
	}
	if err := json.Unmarshal([]byte(a.ask(t, "GET /admin/v1/rate-limits").body), &list); err != nil || len(list.RateLimits) != 2 {
		t.Fatalf("%d limits: %v", len(list.RateLimits), err)
	}
	for i := range g.limits {
		got := a.ask(t, "GET /admin/v1/rate-limits/"+url.PathEscape(g.limits[i].Name))
		var one, listed any
		if err := errors.Join(json.Unmarshal([]byte(got.body), &one), json.Unmarshal(list.RateLimits[i], &listed)); err != nil {
			t.Fatal(err)
		}
		if got.status != 200 || !reflect.DeepEqual(one, listed) {
			t.Errorf("%s: %d %v, listed %v", g.limits[i].Name, got.status, one, listed)
		}
		if strings.Contains(got.body, "null") {
			t.Errorf("%s: null is there: %s", g.limits[i].Name, got.body)
		}
	}
}

// A key is the caller's, or it is refused: nothing of the query may get lost.
func FuzzLimitKey(f *testing.F) {
	f.Add("key=192.0.2.7&plan=gold")
	f.Add("key=a%26plan=b&plan=%zz")
	f.Add("key&plan")
	f.Fuzz(func(t *testing.T, query string) {
		var args fasthttp.Args
		args.Parse(query)
		var k limitKey
		if k.parse(&args) != nil {
			return
		}
		if n := args.Len(); n < 1 || n > 2 || k.key != string(args.Peek("key")) || k.plan != string(args.Peek("plan")) || !args.Has("key") {
			t.Errorf("%q: read as %+v of %d parameters", query, k, n)
		}
	})
}
