package renewal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshpass/meshpass/internal/rights"
	"github.com/meshpass/meshpass/token"
)

// Renew exchanges a valid token for one of the same lineage that expires later. A client
// of a control plane and an issuer can do that. It returns when ctx ends.
//
// An error that matches token.ErrInvalid, token.ErrNotPermitted, token.ErrNotIssuable,
// token.ErrIssuingDisabled or token.ErrDenied is a refusal: the token will probably not be
// renewed. Any other error is an outage. An error that has a method
// RetryAfter() time.Duration says how long to wait at least. An hour at most counts and,
// until the token expires, half of the time that remains. One whose method TooEarly() bool
// returns true says that a token of the lineage was renewed just now.
type Renew func(ctx context.Context, raw string) (token.Issued, error)

var (
	// ErrReplaced: another process replaced the token while it was renewed. Its token
	// stays in the file.
	ErrReplaced = errors.New("renewal: another process replaced the token file meanwhile, and its content is kept")

	// ErrBusy: another process is renewing the token in the file.
	ErrBusy = errors.New("renewal: another process is renewing this token file")

	// ErrWorse: the renewed token differs from the old one in kind, claims or id, does
	// not expire later, or is not valid before the old one expires. It is dropped.
	ErrWorse = errors.New("renewal: the renewed token is refused")
)

const (
	// backdate is by how much issuers, also Kuma's, set the nbf of a token back. Only
	// the nbf tells when a token of a lineage was issued, since all have the same iat.
	backdate = 5 * time.Minute

	minPause = time.Second // between attempts of which the first failed
	maxPause = time.Minute

	minRefusedPause = time.Minute
	maxRefusedPause = time.Hour

	// shorter is by how much a token lives shorter than the one before, at least, if its
	// lineage has cut it off.
	shorter = 10 * time.Second

	// lastWords is how long a renewal may still take after its context has ended. An
	// answer that is lost would make the next renewal look like that of a stolen token.
	lastWords = 2 * time.Second
)

// Option is an option of a [Keeper].
type Option func(*Keeper) error

// WithPoint sets at which part of its lifetime a token is renewed at the latest, as a
// number between 0 and 1. The default is two thirds. Each token is renewed at a random
// moment in the last quarter of the time until then.
func WithPoint(latest float64) Option {
	return func(k *Keeper) error {
		k.point = latest
		if !(0 < latest && latest < 1) {
			return fmt.Errorf("renewal: the point in the lifetime is %v, want a number between 0 and 1", latest)
		}
		return nil
	}
}

// WithTimeout sets how long the Keeper waits for a renewal. The default is 10 seconds.
func WithTimeout(d time.Duration) Option {
	return func(k *Keeper) error { k.timeout = d; return positive("timeout", d) }
}

// WithPoll sets the time between two reads of the file. The default is a second.
func WithPoll(d time.Duration) Option {
	return func(k *Keeper) error { k.poll = d; return positive("poll interval", d) }
}

// WithMaxLineage tells the limit of the control plane on the age of a lineage. The Keeper
// then knows when the lineage ends, and logs a warning once when a tenth of the limit
// remains, but not more than 30 days and not less than three lifetimes. The limit is 0 by
// default: not known. Then a warning is logged when a renewed token lives shorter than the one before.
func WithMaxLineage(d time.Duration) Option {
	return func(k *Keeper) error { k.maxLineage = d; return positive("limit on lineages", d) }
}

// WithLogger sets the logger. The default is slog.Default(). No record holds a token.
func WithLogger(logger *slog.Logger) Option {
	return func(k *Keeper) error {
		k.log = logger
		if logger == nil {
			return errors.New("renewal: the logger is nil")
		}
		return nil
	}
}

// WithClock sets the wall clock, for tests. The default is time.Now.
func WithClock(now func() time.Time) Option {
	return func(k *Keeper) error {
		k.clock = now
		if now == nil {
			return errors.New("renewal: the clock is nil")
		}
		return nil
	}
}

func positive(what string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("renewal: the %s is %s, want more than 0", what, d)
	}
	return nil
}

// Keeper keeps the token in a file fresh. [Keeper.State] may be called at any time; Run
// and Once must not run at the same time.
type Keeper struct {
	path       string
	renew      Renew
	point      float64
	timeout    time.Duration
	poll       time.Duration
	maxLineage time.Duration
	log        *slog.Logger
	clock      func() time.Time

	// These belong to Run and Once.
	current seen      // what the file held when it was last read
	due     moment    // when to renew it
	pause   pause     // after a failure
	early   int       // how often in a row it was too early to renew the token
	problem string    // with the file, as logged last
	warned  string    // id of the lineage whose end was announced
	wrong   bool      // the clock was reported to differ from the issuer's
	renewed time.Time // when the last renewal succeeded

	mu    sync.Mutex
	state State
}

// State is what a Keeper knows. A process that needs the token is ready while
// ExpiresAt is in the future.
type State struct {
	// ID is the jti of the token in the file, "" if the file holds no token.
	ID string
	// ExpiresAt is the exp of the token in the file.
	ExpiresAt time.Time
	// NextAttempt is when the next renewal begins at the latest, by the wall clock.
	NextAttempt time.Time
	// RenewedAt is when this Keeper last renewed the token.
	RenewedAt time.Time
	// LineageEnds is when the last token of the lineage expires, by [WithMaxLineage].
	LineageEnds time.Time
	// Err is why the last attempt failed, or why there is no token to renew. It is nil
	// after a success, and after another process put a token into the file.
	Err error
}

// NewKeeper returns a Keeper for a token file, which need not exist yet. It reads
// nothing. The error is about the arguments.
func NewKeeper(path string, renew Renew, options ...Option) (*Keeper, error) {
	k := &Keeper{path: path, renew: renew, point: 2.0 / 3, timeout: 10 * time.Second, poll: time.Second, log: slog.Default(), clock: time.Now}
	switch {
	case path == "":
		return nil, errors.New("renewal: the token file has no name")
	case renew == nil:
		return nil, errors.New("renewal: the function that renews is nil")
	}
	if _, err := token.ParseUnverified(strings.TrimSpace(path)); err == nil { // errors print the path
		return nil, errors.New("renewal: the name of the token file is a token, want a path")
	}
	for _, option := range options {
		if option == nil {
			return nil, errors.New("renewal: an option is nil")
		}
		if err := option(k); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// State returns what the Keeper knows. It does not block.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// Once renews the token now and replaces the file. It blocks for as long as the file
// system and [WithTimeout] say. A renewal that is under way when ctx ends has two more
// seconds.
//
// After an error the file is as it was, except if only syncing its folder failed: then it
// holds the new token, which may be lost when the machine crashes. The error is that of
// the function that renews or of the file system, or matches [ErrReplaced], [ErrBusy]
// or [ErrWorse].
func (k *Keeper) Once(ctx context.Context) (token.Issued, error) {
	if err := ctx.Err(); err != nil {
		return token.Issued{}, err
	}
	if err := k.look(); err != nil {
		return token.Issued{}, err
	}
	before := k.current
	issued, now, err := k.exchange(ctx)
	if err == nil {
		k.took(now.seen(), before)
	}
	k.publish(err)
	return issued, err
}

// Run renews the token whenever it is due, until ctx ends, and returns the error of ctx. A
// renewal that is under way when ctx ends has two more seconds.
//
// It returns at once if the file is a symbolic link, a mount or no regular file, or if the
// process may not read it or not write to its folder: that would not change by itself. All other
// problems are logged, and Run goes on. That includes a refusal: another process may put a
// new token into the file, which need not exist yet.
func (k *Keeper) Run(ctx context.Context) error {
	if err := k.try(); err != nil {
		return err
	}
	ticker := time.NewTicker(k.poll)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if k.look() == nil && k.isDue() {
			k.attempt(ctx)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return ctx.Err()
}

// try looks for what keeps the file from being replaced and does not change by itself. It
// removes what a killed process left.
func (k *Keeper) try() error {
	folder, err := openFolder(k.path)
	if err != nil {
		if isForbidden(err) {
			return fmt.Errorf("renewal: the token file cannot be read: %w", rights.Explain(".", err))
		}
		return nil
	}
	defer folder.close()
	old, err := folder.read()
	switch {
	case err == nil:
		defer old.close()
	case errors.Is(err, errNotReplaceable):
		return err
	case isForbidden(err):
		return fmt.Errorf("renewal: the token file cannot be read: %w", rights.Explain(".", err))
	}
	if err := folder.acquire(); err != nil {
		switch {
		case errors.Is(err, errNotReplaceable):
			return err
		case isForbidden(err):
			return fmt.Errorf("%w: %w", errNotReplaceable, rights.Explain(".", err))
		}
		return nil
	}
	fresh, err := folder.prepare(old)
	if err == nil {
		fresh.discard()
		return nil
	}
	switch {
	case errors.Is(err, errNotReplaceable):
		return err
	case isForbidden(err):
		return fmt.Errorf("%w: %w", errNotReplaceable, err)
	}
	return nil
}

// look reads the file. The error says why there is no token in it.
func (k *Keeper) look() error {
	now, err := readPath(k.path)
	if err != nil {
		k.current, k.due, k.pause = seen{}, moment{}, pause{}
		if problem := err.Error(); problem != k.problem {
			k.problem = problem
			k.log.Warn("no token to renew: waiting for one in the file", "file", k.path, "error", err)
		}
		k.publish(err)
		return err
	}
	k.problem = ""
	if found := now.seen(); found.digest != k.current.digest {
		k.take(found, false)
		k.log.Info("looking after the token in the file", "file", k.path,
			"jti", now.claims.ID, "expires", now.claims.ExpiresAt, "next", k.due.wall)
		k.publish(nil)
	}
	k.warnOfEnd(seen{})
	return nil
}

// took is take for a token that was just obtained.
func (k *Keeper) took(now, before seen) {
	k.take(now, true)
	k.renewed = k.clock()
	k.log.Info("token renewed", "file", k.path, "jti", now.claims.ID, "expires", now.claims.ExpiresAt, "next", k.due.wall)
	k.warnOfClock(now)
	k.warnOfEnd(before)
}

// take makes a token the one that is looked after.
func (k *Keeper) take(now seen, obtained bool) {
	k.current, k.pause, k.early = now, pause{}, 0
	k.due = k.in(k.wait(now.claims.Registered, obtained))
}

// wait returns the time until a token should be renewed.
func (k *Keeper) wait(c token.Registered, obtained bool) time.Duration {
	now := k.now()
	issued := issuedAt(c)
	if !issued.Before(c.ExpiresAt) || issued.IsZero() {
		issued = now // the issuer is another one
	}
	lifetime := c.ExpiresAt.Sub(issued)
	passed := time.Duration(0)
	if !obtained {
		passed = now.Sub(issued)
	}
	if lifetime <= 0 || passed < -token.Skew {
		return 0 // expired, or the clock is wrong: the server knows
	}
	part := k.point * (0.75 + 0.25*rand.Float64())
	return max(0, time.Duration(part*float64(lifetime))-max(0, passed))
}

// issuedAt returns when a token was issued, by the clock of its issuer, or the zero time.
func issuedAt(c token.Registered) time.Time {
	if at := c.NotBefore.Add(backdate); !c.NotBefore.IsZero() && at.After(c.IssuedAt) {
		return at
	}
	return c.IssuedAt
}

// seen is what a Keeper knows of a token. It does not keep the token, since a printer
// could show it.
type seen struct {
	digest [sha256.Size]byte
	claims token.Claims
}

func (c content) seen() seen { return seen{sha256.Sum256([]byte(c.raw)), c.claims} }

// lifetime returns 0 if it is not known.
func (c seen) lifetime() time.Duration {
	issued := issuedAt(c.claims.Registered)
	if issued.IsZero() {
		return 0
	}
	return c.claims.ExpiresAt.Sub(issued)
}

// attempt renews the token, and says when to try again if that failed.
func (k *Keeper) attempt(ctx context.Context) {
	before := k.current
	_, now, err := k.exchange(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	log := k.log.With("file", k.path, "jti", before.claims.ID)
	switch {
	case err == nil:
		k.took(now.seen(), before)
	case errors.Is(err, ErrReplaced):
		k.due = k.in(0) // look reads what is there now
		log.Info("another process replaced the token while it was renewed: keeping that one")
	default:
		refused := isRefusal(err)
		d := k.pause.next(refused || errors.Is(err, errNotReplaceable), k.atLeast(err))
		if left := k.left(); left > 0 && !errors.Is(err, ErrWorse) { // which costs a renewal each time
			d = min(d, max(left/2, minRefusedPause)) // what refuses it may be mended in time
		}
		if short := (sooner{}); errors.As(err, &short) && short.wait() > d {
			d, k.pause = short.wait(), pause{} // which may be long, so the wall clock counts too
		}
		k.due = k.in(d)
		log = log.With("error", err, "expires", before.claims.ExpiresAt, "again_in", d.Round(time.Millisecond))
		if k.early++; !isTooEarly(err) {
			k.early = 0
		}
		switch {
		case refused:
			log.Error("renewal refused: issue a new token and put it into the file")
		case k.early > 1: // the first one may follow a renewal whose answer was lost
			log.Error("token not renewed: the control plane says again that it was renewed just now, and not by this process: if none of yours does it, " +
				"the token is stolen: revoke its id, and issue a new token")
		default:
			log.Warn("token not renewed")
		}
	}
	k.publish(err)
}

// exchange renews the token in the file.
func (k *Keeper) exchange(ctx context.Context) (token.Issued, content, error) {
	folder, err := openFolder(k.path)
	if err != nil {
		return token.Issued{}, content{}, err
	}
	defer folder.close()
	if err := folder.acquire(); err != nil {
		return token.Issued{}, content{}, err
	}
	old, err := folder.read()
	if err != nil {
		return token.Issued{}, content{}, err
	}
	defer old.close()
	fresh, err := folder.prepare(old)
	if err != nil {
		return token.Issued{}, content{}, err
	}
	defer fresh.discard()
	issued, err := k.call(ctx, old.raw)
	if err != nil {
		return token.Issued{}, content{}, err
	}
	now, err := old.with(issued.Token)
	if err == nil {
		err = compare(old.claims, now.claims)
	}
	if err != nil {
		return token.Issued{}, content{}, fmt.Errorf("%w: %w", ErrWorse, err)
	}
	err = fresh.replace(old, now.data)
	if isForbidden(err) {
		err = fmt.Errorf("%w: %w", errNotReplaceable, err)
	}
	if err != nil {
		return token.Issued{}, content{}, err
	}
	return issued, now, nil
}

// call calls the function that renews. It does not let an answer go that is on its way
// when ctx ends.
func (k *Keeper) call(ctx context.Context, raw string) (token.Issued, error) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-bounded.Done():
		case <-time.After(lastWords):
			cancel()
		}
	})
	defer stop()
	issued, err := k.renew(bounded, raw)
	if err != nil && strings.Contains(err.Error(), raw) {
		err = &silenced{err, strings.ReplaceAll(err.Error(), raw, "(token)")}
	}
	return issued, err
}

// silenced is an error whose text held the token.
type silenced struct {
	err  error
	text string
}

func (s *silenced) Error() string { return s.text }
func (s *silenced) Unwrap() error { return s.err }

// compare returns why a renewed token must not replace an old one. It asks no clock,
// since that of this machine may be wrong.
func compare(old, now token.Claims) error {
	switch {
	case now.Kind() != old.Kind():
		return fmt.Errorf("it is a %s token, want a %s token", now.Kind(), old.Kind())
	case now.ID != old.ID:
		return fmt.Errorf("its id is %q, want %q", now.ID, old.ID)
	case !reflect.DeepEqual(now.Dataplane, old.Dataplane) || now.Zone.Zone != old.Zone.Zone || !slices.Equal(now.Zone.Scope, old.Zone.Scope):
		return errors.New("its claims differ")
	case !now.IssuedAt.Equal(old.IssuedAt):
		return errors.New("its iat differs, which is that of the lineage")
	case !now.ExpiresAt.After(old.ExpiresAt):
		return sooner{now.ExpiresAt, old.ExpiresAt}
	case now.NotBefore.After(old.ExpiresAt):
		return fmt.Errorf("it is not valid before %s, when the old token has expired", now.NotBefore)
	}
	return nil
}

// sooner is about a renewed token that does not expire later than the old one, such as where
// the control plane has a new limit on lifetimes.
type sooner struct{ now, old time.Time }

func (s sooner) Error() string {
	return fmt.Sprintf("it expires at %s, and the old token at %s: want later", s.now, s.old)
}

// wait returns how long it takes until a renewed token expires later. To ask before is in
// vain, and what renews the token in vain again and again looks like a thief.
func (s sooner) wait() time.Duration { return s.old.Sub(s.now) + time.Second }

// warnOfClock says once that the clock of this machine contradicts a token that was just
// issued.
func (k *Keeper) warnOfClock(fresh seen) {
	now, c := k.now(), fresh.claims
	wrong := !now.Before(c.ExpiresAt) || now.Before(c.NotBefore)
	if wrong && !k.wrong {
		k.log.Warn("the clock of this machine differs from that of the control plane", "file", k.path, "now", now,
			"not_before", c.NotBefore, "expires", c.ExpiresAt)
	}
	k.wrong = wrong
}

// warnOfEnd says once, well before, that the lineage ends. before is the token that was
// renewed, if there was one. A token that is valid for longer needs no renewal.
func (k *Keeper) warnOfEnd(before seen) {
	if k.warned == k.current.claims.ID {
		return
	}
	end := k.lineageEnds()
	if !end.IsZero() && k.current.claims.ExpiresAt.After(end) {
		return
	}
	if end.IsZero() {
		if k.current.lifetime() >= before.lifetime()-shorter {
			return
		}
		end = k.current.claims.ExpiresAt
	} else {
		early := max(min(k.maxLineage/10, 30*24*time.Hour), 3*k.current.lifetime())
		if k.now().Before(end.Add(-early)) {
			return
		}
	}
	k.warned = k.current.claims.ID
	k.log.Warn("the lineage of the token ends: issue a new token before, and put it into the file", "file", k.path,
		"jti", k.current.claims.ID, "ends", end)
}

// lineageEnds returns the zero time if that is not known.
func (k *Keeper) lineageEnds() time.Time {
	if began := k.current.claims.IssuedAt; k.maxLineage > 0 && !began.IsZero() {
		return began.Add(k.maxLineage) // all tokens of a lineage have the same iat
	}
	return time.Time{}
}

func (k *Keeper) publish(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.current.claims
	k.state = State{ID: c.ID, ExpiresAt: c.ExpiresAt, NextAttempt: k.due.wall, RenewedAt: k.renewed, LineageEnds: k.lineageEnds(), Err: err}
}

// now returns the time without its monotonic reading, so that wall clocks are compared.
func (k *Keeper) now() time.Time { return k.clock().Round(0) }

// moment is a time by both clocks.
type moment struct {
	wall      time.Time
	monotonic time.Time
}

func (k *Keeper) in(d time.Duration) moment { return moment{k.now().Add(d), time.Now().Add(d)} }

// isDue reports whether the time has come by one of the clocks. After a failure only the
// monotonic clock counts, so that a jump does not end a pause.
func (k *Keeper) isDue() bool {
	return !time.Now().Before(k.due.monotonic) || k.pause.length == 0 && !k.now().Before(k.due.wall)
}

// pause is what lies between two attempts.
type pause struct {
	length time.Duration // 0 after a success
	final  bool
}

// next returns the next pause: half of it at random, and at least the shortest one and what
// the server asks for.
func (p *pause) next(final bool, atLeast time.Duration) time.Duration {
	least, most := minPause, maxPause
	if final {
		least, most = minRefusedPause, maxRefusedPause
	}
	if p.final != final {
		p.length = 0
	}
	p.final = final
	p.length = max(least, min(2*p.length, most))
	return max(p.length/2, least, atLeast) + rand.N(p.length/2)
}

// atLeast returns for how long the server asks to wait. It may not know when the token
// expires, as a proxy in front of it does not. So half of the time that remains is the most
// that counts.
func (k *Keeper) atLeast(err error) time.Duration {
	var asks interface{ RetryAfter() time.Duration }
	if !errors.As(err, &asks) {
		return 0
	}
	asked := min(asks.RetryAfter(), time.Hour)
	if left := k.left(); left > 0 {
		asked = min(asked, left/2)
	}
	return asked
}

// left returns the time until the token expires, by the wall clock.
func (k *Keeper) left() time.Duration { return k.current.claims.ExpiresAt.Sub(k.now()) }

func isTooEarly(err error) bool {
	var tells interface{ TooEarly() bool }
	return errors.As(err, &tells) && tells.TooEarly()
}

func isRefusal(err error) bool {
	return slices.ContainsFunc([]error{token.ErrInvalid, token.ErrNotPermitted, token.ErrNotIssuable, token.ErrIssuingDisabled, token.ErrDenied},
		func(class error) bool { return errors.Is(err, class) }) || errors.Is(err, ErrWorse)
}
