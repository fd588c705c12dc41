package cutoffmodel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	longestLifetime = 2 * time.Hour    // of the tokens of this test
	pollBound       = 31 * time.Second // within which a validator without a watch knows a change
	leeway          = 30 * time.Second // of validators, by default
)

// revokedState is what the records of a scope say, as the documents describe them.
type revokedState struct {
	keys    map[signing.Serial]bool
	ids     map[string]bool
	cutoffs [2]map[revocation.Cutoff]time.Time // in the scope and, for a mesh, the global one, by subject
	floor   time.Time
}

func (s revokedState) clone() revokedState {
	return revokedState{maps.Clone(s.keys), maps.Clone(s.ids), [2]map[revocation.Cutoff]time.Time{maps.Clone(s.cutoffs[0]), maps.Clone(s.cutoffs[1])}, s.floor}
}

// add adds a cutoff to one of the two records. The later one of a subject counts.
func (s revokedState) add(record int, subject revocation.Cutoff, before time.Time) {
	if before.After(s.cutoffs[record][subject]) {
		s.cutoffs[record][subject] = before
	}
}

// keep adds what another state revokes.
func (s *revokedState) keep(other revokedState) {
	maps.Copy(s.ids, other.ids)
	for record, cutoffs := range other.cutoffs {
		for subject, before := range cutoffs {
			s.add(record, subject, before)
		}
	}
	if other.floor.After(s.floor) {
		s.floor = other.floor
	}
}

// cutAt returns the latest moment of a cutoff that concerns a token, in each record.
func (s revokedState) cutAt(x *revocable) (latest [2]time.Time) {
	for record, cutoffs := range s.cutoffs {
		for subject, before := range cutoffs {
			if x.concernedBy(subject) && before.After(latest[record]) {
				latest[record] = before
			}
		}
	}
	return latest
}

// revocable is a token of the scope.
type revocable struct {
	Claims
	raw, id, kid string
	made         time.Time // by the true clock
	idTime       time.Time // zero: the id does not tell it
	iat, exp     time.Time // iat may be zero
	verified     map[*clockedValidator]Verified
}

func (x *revocable) concernedBy(subject revocation.Cutoff) bool {
	return (subject.Name == "" || subject.Name == x.Name) &&
		(subject.Workload == "" || subject.Workload == x.Workload) &&
		(subject.Zone == "" || subject.Zone == x.Zone) &&
		(subject.KeyID == "" || subject.KeyID == x.kid)
}

// clockedValidator is a validator whose clock is apart from the true one.
type clockedValidator struct {
	Validator
	name       string
	apart      time.Duration
	ofStore    bool     // it uses the store's keys
	configured []string // the kids of other keys
	bound      time.Duration
}

// faults are what is wrong with a token, each nil or an error: its key, its id, the
// cutoffs of either record, its time.
type faults [5]error

func (f faults) have(fault error) bool { return slices.Contains(f[:], fault) }

// wrong returns what is wrong with a token in a state.
func (v *clockedValidator) wrong(s revokedState, x *revocable) (f faults) {
	known := slices.Contains(v.configured, x.kid)
	for serial := range s.keys {
		known = known || v.ofStore && serial.KeyID() == x.kid
	}
	if !known {
		f[0] = token.ErrUnknownKey
	}
	if s.ids[x.id] {
		f[1] = token.ErrRevoked
	}
	cut := s.cutAt(x)
	if x.iat.Before(cut[0]) || !x.idTime.IsZero() && x.idTime.Before(s.floor) {
		f[2] = token.ErrRevoked
	}
	if x.iat.Before(cut[1]) {
		f[3] = token.ErrRevoked
	}
	if !time.Now().Add(v.apart).Before(x.exp.Add(leeway)) {
		f[4] = token.ErrExpired
	}
	return f
}

type revocableSession struct {
	token    *revocable
	of       *clockedValidator
	ctx      context.Context
	reasons  []error   // why it may have ended
	badSince time.Time // zero: its token is good
}

// pastState is a state that was in force until a moment.
type pastState struct {
	revokedState
	until time.Time
}

// savedStore is a backup.
type savedStore struct {
	records []keystore.Record
	state   revokedState
}

// cutoffModel says which tokens are good and which sessions are open.
type cutoffModel struct {
	Kind
	t          *testing.T
	draw       *rand.Rand
	store      *keystore.Memory
	issuers    []Issuer
	offline    []Issuer        // do not see the cutoffs
	apart      []time.Duration // the clocks of both
	validators []*clockedValidator

	now         revokedState
	past        []pastState
	tokens      []*revocable
	sessions    []*revocableSession
	backups     []savedStore
	understates bool // pruning may state less than the longest lifetime
}

func newCutoffModel(t *testing.T, kind Kind, seed uint64) *cutoffModel {
	m := &cutoffModel{
		Kind:        kind,
		t:           t,
		draw:        rand.New(rand.NewPCG(seed, 0)),
		store:       keystore.NewMemory(),
		now:         revokedState{map[signing.Serial]bool{1: true}, map[string]bool{}, [2]map[revocation.Cutoff]time.Time{{}, {}}, time.Time{}},
		understates: seed%2 == 0,
	}
	data, err := testKey(1).PEM()
	m.must(err)
	m.create(m.store, keystore.Record{Scope: m.Keys.Scope(), Name: m.Keys.KeyName(1), Data: data})
	if m.MakeGlobalList != nil && seed%4 < 2 { // as beside a Kuma
		m.must(m.MakeGlobalList(t.Context(), m.store))
	}
	// No two clocks are further apart than the skew. Operators have the true one.
	slowest := -time.Duration(m.draw.Int64N(int64(token.Skew) + 1))
	for _, apart := range []time.Duration{slowest, 0, slowest + token.Skew} {
		m.apart = append(m.apart, apart)
		issuer, err := m.NewIssuer(m.store, clockApart(apart))
		m.must(err)
		m.issuers = append(m.issuers, issuer)
		offline, err := m.NewOfflineIssuer(testKey(2), "own", clockApart(apart))
		m.must(err)
		m.offline = append(m.offline, offline)
	}
	own := map[string]*signing.PublicKey{"own": testKey(2).Public()}
	m.follow(m.store, &clockedValidator{name: "remembering", ofStore: true, configured: []string{"own"}}, Settings{Cache: 4096, Configured: own})
	m.follow(m.store, &clockedValidator{name: "slow", apart: slowest, ofStore: true}, Settings{})
	m.follow(m.store, &clockedValidator{name: "configured", apart: slowest + token.Skew, configured: []string{"own", "1"}},
		Settings{Cache: 4096, Configured: map[string]*signing.PublicKey{"own": testKey(2).Public(), "1": testKey(1).Public()}, WithoutStoreKeys: true})
	m.follow(struct{ keystore.KeyStore }{m.store}, &clockedValidator{name: "polling", ofStore: true, bound: pollBound}, Settings{Cache: 4096})
	synctest.Wait()
	return m
}

func (m *cutoffModel) must(err error) {
	m.t.Helper()
	m.holds(err == nil, "error %v, want none", err)
}

// holds ends the test with a message, unless what it is about holds.
func (m *cutoffModel) holds(what bool, otherwise string, args ...any) {
	m.t.Helper()
	if !what {
		m.t.Fatalf(otherwise, args...)
	}
}

func clockApart(d time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(d) }
}

func (m *cutoffModel) follow(store keystore.KeyStore, v *clockedValidator, settings Settings) {
	settings.Clock = clockApart(v.apart)
	validator, err := m.NewValidator(store, settings)
	m.must(err)
	m.t.Cleanup(func() { m.must(validator.Close()) })
	v.Validator = validator
	m.validators = append(m.validators, v)
}

// change changes the model's state, and remembers the one before.
func (m *cutoffModel) change(do func(s *revokedState)) {
	m.past = append(m.past, pastState{m.now, time.Now()})
	m.past = slices.DeleteFunc(m.past, func(p pastState) bool { return time.Since(p.until) > pollBound })
	m.now = m.now.clone()
	do(&m.now)
}

// states are those that a validator may believe.
func (m *cutoffModel) states(v *clockedValidator) []revokedState {
	states := []revokedState{m.now}
	for _, p := range m.past {
		if v.bound > 0 && time.Since(p.until) <= v.bound {
			states = append(states, p.revokedState)
		}
	}
	return states
}

func (m *cutoffModel) newToken() *revocable {
	return &revocable{Claims: oneOf(m, m.Tokens...), made: time.Now(), verified: map[*clockedValidator]Verified{}}
}

func oneOf[T any](m *cutoffModel, from ...T) T { return from[m.draw.IntN(len(from))] }

func (m *cutoffModel) issueBy(issuer Issuer, apart time.Duration) *revocable {
	x, lifetime := m.newToken(), oneOf(m, 10*time.Minute, time.Hour, longestLifetime)
	issued, err := issuer(m.t.Context(), x.Claims, lifetime)
	m.must(err)
	clock := time.Now().Add(apart)
	x.raw, x.id, x.kid = issued.Token, issued.ID, issued.KeyID
	x.idTime = clock.Truncate(time.Millisecond)
	x.iat, x.exp = clock.Truncate(time.Second).Add(-5*time.Second), clock.Truncate(time.Second).Add(lifetime)
	m.tokens = append(m.tokens, x)
	return x
}

// issue issues a token that must be good at once.
func (m *cutoffModel) issue() {
	i := m.draw.IntN(len(m.issuers))
	x := m.issueBy(m.issuers[i], m.apart[i])
	for _, cut := range m.now.cutAt(x) {
		if x.iat.Before(cut) {
			x.iat = cut
		}
	}
	m.holds(m.validators[0].wrong(m.now, x) == faults{}, "the model refuses what an issuer who saw the cutoffs has just issued")
}

func (m *cutoffModel) issueOffline() {
	i := m.draw.IntN(len(m.offline))
	m.issueBy(m.offline[i], m.apart[i])
}

// issueElsewhere makes a token as other control planes do: its id does not tell the time,
// and it may have no iat.
func (m *cutoffModel) issueElsewhere() {
	x := m.newToken()
	serial := oneOf(m, slices.Sorted(maps.Keys(m.now.keys))...)
	x.kid, x.id, x.exp = serial.KeyID(), fmt.Sprintf("6baf2c90-0e86-4c62-97a7-%012x", m.draw.Int64N(1<<48)), x.made.Truncate(time.Second).Add(longestLifetime)
	iat := ""
	if m.draw.IntN(3) > 0 {
		x.iat = x.made.Truncate(time.Second).Add(-time.Duration(m.draw.IntN(300)) * time.Second)
		iat = fmt.Sprintf(`,"iat":%d`, x.iat.Unix())
	}
	x.raw = forge.Token(`{"alg":"RS256","kid":"`+x.kid+`","typ":"JWT"}`, fmt.Sprintf(`{%s,"jti":"%s","exp":%d%s}`, m.Payload(x.Claims), x.id, x.exp.Unix(), iat), func(input []byte) []byte {
		signature, err := keyOf(serial).Sign(input)
		m.must(err)
		return signature
	})
	m.tokens = append(m.tokens, x)
}

// The keys are made when the tests run; nobody's key is kept here.
var testKeys = [3]func() *signing.PrivateKey{sync.OnceValue(newKey), sync.OnceValue(newKey), sync.OnceValue(newKey)}

func newKey() *signing.PrivateKey {
	key, err := signing.Generate(signing.MinBits)
	if err != nil {
		panic(err)
	}
	return key
}

func testKey(n int) *signing.PrivateKey { return testKeys[n]() }

// keyOf returns the key of a serial, which is always the same.
func keyOf(serial signing.Serial) *signing.PrivateKey { return testKey(int(serial % 3)) }

func (m *cutoffModel) revoke() {
	if len(m.tokens) > 0 {
		x := oneOf(m, m.tokens...)
		m.must(m.Revoke(m.t.Context(), m.store, x.id))
		m.change(func(s *revokedState) { s.ids[x.id] = true })
	}
}

func (m *cutoffModel) restoreID() {
	if ids := slices.Sorted(maps.Keys(m.now.ids)); len(ids) > 0 {
		id := oneOf(m, ids...)
		m.must(m.Restore(m.t.Context(), m.store, id))
		m.change(func(s *revokedState) { delete(s.ids, id) })
	}
}

func (m *cutoffModel) cutOff() {
	subject := oneOf(m, m.Subjects...)
	c, before := subject, m.now
	untilNow := false
	switch m.draw.IntN(4) {
	case 0:
		c.Before = time.Now().Add(-time.Duration(m.draw.Int64N(int64(30 * time.Minute))))
	case 1: // as far ahead as a cutoff can be made
		c.Before = time.Now().Add(time.Duration(m.draw.Int64N(int64(2*token.Skew - time.Second))))
	default:
		var err error
		if c, err = m.UntilNow(m.t.Context(), m.store, subject); err != nil {
			m.holds(errors.Is(err, revocation.ErrCutoff) && before.anyAfter(time.Now().Add(2*token.Skew-time.Second)), "%v", err)
			return
		}
		untilNow = true
	}
	records := revocation.CutoffsOf(m.Keys.Kind(), m.Keys.Scope())
	record := m.draw.IntN(len(records))
	var err error
	if record == 0 {
		err = m.CutOff(m.t.Context(), m.store, c)
	} else {
		_, err = records[record].Add(m.t.Context(), m.store, c)
	}
	m.must(err)
	m.change(func(s *revokedState) {
		s.add(record, subject, c.Before.Add(time.Second-1).Truncate(time.Second).UTC())
	})
	for _, x := range m.tokens {
		if untilNow && x.concernedBy(subject) && !before.hasForgotten(x) {
			m.holds(m.validators[0].wrong(m.now, x).have(token.ErrRevoked), "the model accepts %s, issued before %s", x, c)
		}
	}
}

// anyAfter reports whether there is a cutoff with a moment after at.
func (s revokedState) anyAfter(at time.Time) bool {
	for _, cutoffs := range s.cutoffs {
		for _, before := range cutoffs {
			if before.After(at) {
				return true
			}
		}
	}
	return false
}

// hasForgotten reports whether a token is dated at a cutoff far ahead that is gone, removed
// or put back.
func (s revokedState) hasForgotten(x *revocable) bool {
	cut := s.cutAt(x)
	return !x.iat.Before(time.Now().Add(token.Skew)) && x.iat.After(cut[0]) && x.iat.After(cut[1])
}

func (m *cutoffModel) removeCutoff() {
	var present []revocation.Cutoff
	for _, cutoffs := range m.now.cutoffs {
		for c, before := range cutoffs {
			c.Before = before
			present = append(present, c)
		}
	}
	if len(present) == 0 {
		return
	}
	// A seed always draws the same.
	slices.SortFunc(present, func(a, b revocation.Cutoff) int { return cmp.Compare(a.String(), b.String()) })
	c := oneOf(m, present...)
	m.must(m.RemoveCutoff(m.t.Context(), m.store, c))
	m.change(func(s *revokedState) {
		for _, cutoffs := range s.cutoffs {
			maps.DeleteFunc(cutoffs, func(subject revocation.Cutoff, before time.Time) bool {
				subject.Before = before
				return subject == c
			})
		}
	})
}

func (m *cutoffModel) cutOffOthers() {
	before := time.Now().Add(token.Skew)
	for _, ref := range m.OtherCutoffs {
		_, err := ref.Add(m.t.Context(), m.store, revocation.Cutoff{Before: before})
		m.must(err)
	}
}

func (m *cutoffModel) prune() {
	lifetime := longestLifetime
	if m.understates && m.draw.IntN(2) == 0 {
		lifetime = time.Minute
	}
	m.must(m.Prune(m.t.Context(), m.store, lifetime))
	m.change(func(s *revokedState) {
		if floor := time.Now().Add(-lifetime - 15*time.Minute).Truncate(time.Second); floor.After(s.floor) {
			s.floor = floor
		}
	})
	for _, x := range m.tokens {
		if !m.understates && x.idTime.Before(m.now.floor) && !x.idTime.IsZero() {
			m.holds(m.validators[1].wrong(m.now, x).have(token.ErrExpired), "the floor revokes a token that has not expired")
		}
	}
}

func (m *cutoffModel) addKey() {
	next := slices.Max(slices.Collect(maps.Keys(m.now.keys))) + 1
	key, err := m.AddKey(m.t.Context(), m.store, keyOf(next))
	m.must(err)
	m.holds(key.Serial == next, "the new key has serial %d, want %d", key.Serial, next)
	m.change(func(s *revokedState) { s.keys[next] = true })
}

func (m *cutoffModel) removeKey() {
	if len(m.now.keys) > 1 {
		oldest := slices.Min(slices.Collect(maps.Keys(m.now.keys)))
		m.must(m.RemoveKey(m.t.Context(), m.store, oldest))
		m.change(func(s *revokedState) { delete(s.keys, oldest) })
	}
}

func (m *cutoffModel) backUp() {
	m.backups = append(m.backups, savedStore{m.all(m.store), m.now.clone()})
}

// putBack puts an older state back as it is, which validators believe, and later the
// newest one, without losing what is revoked by either.
func (m *cutoffModel) putBack() {
	if len(m.backups) == 0 {
		return
	}
	older := oneOf(m, m.backups...)
	m.backUp()
	m.put(older.records)
	m.change(func(s *revokedState) { *s = older.state.clone() })
	m.compare("an older state")
	m.issue()
	m.pass(time.Duration(m.draw.IntN(60_000)) * time.Millisecond)
	m.compare("an older state, and some time")
	m.restore(m.backups[len(m.backups)-1])
}

func (m *cutoffModel) restoreBackup() {
	if len(m.backups) > 0 {
		m.restore(oneOf(m, m.backups...))
	}
}

// restore restores a backup, as meshpass restore does: what is revoked stays revoked.
func (m *cutoffModel) restore(b savedStore) {
	merged, ctx := keystore.NewMemory(), m.t.Context()
	for _, r := range b.records {
		m.create(merged, r)
	}
	for _, ref := range revocation.CutoffsOf(m.Keys.Kind(), m.Keys.Scope()) {
		cutoffs, err := ref.Load(ctx, m.store)
		m.must(err)
		_, _, err = ref.Keep(ctx, merged, cutoffs)
		m.must(err)
	}
	for _, ref := range m.Lists {
		list, err := ref.Load(ctx, m.store)
		m.must(err)
		if ids := list.IDs(); len(ids) > 0 {
			m.must(ref.Add(ctx, merged, ids...))
		}
	}
	m.put(m.all(merged))
	m.change(func(s *revokedState) {
		present := *s
		*s = b.state.clone()
		s.keep(present)
	})
}

// put makes the store hold these records and no other.
func (m *cutoffModel) put(records []keystore.Record) {
	present := map[[2]string]keystore.Record{}
	for _, r := range m.all(m.store) {
		present[[2]string{string(r.Scope), r.Name}] = r
	}
	for _, r := range records {
		at := [2]string{string(r.Scope), r.Name}
		if there, ok := present[at]; ok {
			there.Data = r.Data
			_, err := m.store.Update(m.t.Context(), there)
			m.must(err)
		} else {
			m.create(m.store, r)
		}
		delete(present, at)
	}
	for _, r := range present {
		m.must(m.store.Delete(m.t.Context(), r.Scope, r.Name))
	}
}

func (m *cutoffModel) create(store keystore.KeyStore, r keystore.Record) {
	_, err := store.Create(m.t.Context(), keystore.Record{Scope: r.Scope, Name: r.Name, Data: r.Data})
	m.must(err)
}

func (m *cutoffModel) all(store keystore.KeyStore) []keystore.Record {
	records, err := store.List(m.t.Context(), keystore.AllScopes, "")
	m.must(err)
	return records
}

// bind binds a session to what a validator verified, perhaps long ago.
func (m *cutoffModel) bind() {
	if len(m.tokens) == 0 {
		return
	}
	x, v := oneOf(m, m.tokens...), oneOf(m, m.validators...)
	verified, ok := x.verified[v]
	if !ok {
		return
	}
	s := &revocableSession{token: x, of: v}
	for _, state := range m.states(v) {
		f := v.wrong(state, x)
		s.reasons = append(s.reasons, f[:]...)
	}
	var stop context.CancelFunc
	s.ctx, stop = verified.Bind(m.t.Context())
	m.t.Cleanup(stop)
	m.sessions = append(m.sessions, s)
}

func (m *cutoffModel) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (m *cutoffModel) seconds() { m.pass(time.Duration(m.draw.IntN(120_000)) * time.Millisecond) }
func (m *cutoffModel) minutes() { m.pass(time.Duration(m.draw.IntN(40)) * time.Minute) }

// compare compares the model with the validators: every session, the latest token, and
// some others.
func (m *cutoffModel) compare(after string) {
	synctest.Wait()
	m.sessions = slices.DeleteFunc(m.sessions, func(s *revocableSession) bool { return m.hasEnded(s, after) })
	m.tokens = slices.DeleteFunc(m.tokens, func(x *revocable) bool { return time.Since(x.exp) > 10*time.Minute })
	if len(m.tokens) == 0 {
		return
	}
	m.ask(m.tokens[len(m.tokens)-1], after)
	for range 6 {
		m.ask(oneOf(m, m.tokens...), after)
	}
}

// ask asks every validator about a token.
func (m *cutoffModel) ask(x *revocable, after string) {
	for _, v := range m.validators {
		// To ask may take a second, if the key is unknown.
		good, reasons := m.allowed(v, x, nil)
		verified, err := v.Validate(m.t.Context(), x.Claims, x.raw)
		late, reasons := m.allowed(v, x, reasons)
		if err == nil {
			x.verified[v] = verified
			m.holds(good || late, "after %s: %s validator accepts %s, want %v", after, v.name, x, errors.Join(reasons...))
			continue
		}
		m.holds(matches(err, reasons), "after %s: %s validator says of %s: %v, want %v", after, v.name, x, err, errors.Join(reasons...))
		m.holds(errors.Is(err, token.ErrInvalid), "after %s: %s validator says of %s: %v, which is no definite refusal", after, v.name, x, err)
	}
}

// allowed reports whether a validator may accept a token now, and adds why it may refuse
// it. Of two records one may have been read later than the other, so each by itself must
// have a state within the bound in which it has nothing against the token.
func (m *cutoffModel) allowed(v *clockedValidator, x *revocable, reasons []error) (bool, []error) {
	var good [len(faults{})]bool
	for _, state := range m.states(v) {
		f := v.wrong(state, x)
		for i, err := range f {
			good[i] = good[i] || err == nil
		}
		reasons = append(reasons, f[:]...)
	}
	return !slices.Contains(good[:], false), reasons
}

func matches(err error, reasons []error) bool {
	return slices.ContainsFunc(reasons, func(reason error) bool { return reason != nil && errors.Is(err, reason) })
}

// hasEnded checks a session, and reports whether it has ended.
func (m *cutoffModel) hasEnded(s *revocableSession, after string) bool {
	wrong := s.of.wrong(m.now, s.token)
	s.reasons = append(s.reasons, wrong[:]...)
	if cause := context.Cause(s.ctx); cause != nil {
		m.holds(matches(cause, s.reasons), "after %s: session of the %s validator with %s ended: %v, want %v", after, s.of.name, s.token, cause, errors.Join(s.reasons...))
		return true
	}
	switch {
	case wrong == faults{}:
		s.badSince = time.Time{}
	case s.badSince.IsZero():
		s.badSince = time.Now()
	}
	m.holds(wrong == faults{} || time.Since(s.badSince) < s.of.bound, "after %s: session of the %s validator with %s is open, want %v", after, s.of.name, s.token, errors.Join(wrong[:]...))
	return false
}

// String describes a token without its text.
func (x *revocable) String() string {
	return fmt.Sprintf("the token %s of key %s for %+v, issued at %s", x.id, x.kid, x.Claims, x.iat)
}

func (m *cutoffModel) run(steps int) {
	kinds := []struct {
		what  string
		often int
		do    func()
	}{
		{"a token", 8, m.issue}, {"a token of an offline issuer", 2, m.issueOffline}, {"a token of another control plane", 2, m.issueElsewhere},
		{"a revocation", 3, m.revoke}, {"a restored id", 1, m.restoreID}, {"a cutoff", 4, m.cutOff}, {"a cutoff less", 1, m.removeCutoff},
		{"a cutoff for others", 1, m.cutOffOthers}, {"pruning", 2, m.prune}, {"a new key", 1, m.addKey}, {"a key less", 1, m.removeKey},
		{"a backup", 2, m.backUp}, {"a backup put back", 1, m.putBack}, {"a restored backup", 2, m.restoreBackup},
		{"Bind", 8, m.bind}, {"some seconds", 5, m.seconds}, {"some minutes", 2, m.minutes},
	}
	var drawn []int
	for i, k := range kinds {
		for range k.often {
			drawn = append(drawn, i)
		}
	}
	for range steps {
		k := kinds[oneOf(m, drawn...)]
		k.do()
		m.compare(k.what)
	}
}
