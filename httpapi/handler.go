package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// storeTimeout is how long a request waits for the authoriser and the store.
const storeTimeout = 10 * time.Second

// An Action is what a request asks for.
type Action string

// The actions.
const (
	Issue   Action = "issue"   // a token
	List    Action = "list"    // the ids on a revocation list
	Renew   Action = "renew"   // a token for the holder of a good one: see [WithRenewal]
	Revoke  Action = "revoke"  // add ids to a revocation list
	Restore Action = "restore" // remove ids from a revocation list
	Keys    Action = "keys"    // the public keys; the authoriser is not asked under [WithPublicKeySets]

	// MakeGlobalList makes the revocation list of a mesh in the global scope, which Kuma
	// reads: see revocation.MakeDataplaneGlobal.
	MakeGlobalList Action = "make global list"

	// Prune drops the ids of expired tokens from a revocation list, and revokes every token
	// with an older id for ever: see revocation.Prune.
	Prune Action = "prune"

	ListCutoffs  Action = "list cutoffs"
	CutOff       Action = "cut off"       // revoke all tokens issued before a moment
	RemoveCutoff Action = "remove cutoff" // the tokens that it alone revokes are valid again

	ListKeys  Action = "list keys"  // and how they are used; Keys is the public keys alone
	CreateKey Action = "create key" // the first one of a mesh or of the zones
	AddKey    Action = "add key"    // the next one, which then signs
	RemoveKey Action = "remove key" // the tokens that it signed are refused
)

// A Request is what an [Authorizer] decides about. The handler has read all of it
// and checked it, so it does exactly what the authoriser allows.
type Request struct {
	Action Action
	Kind   token.Kind

	// Mesh is the mesh that the request is about; for Issue and Renew, the mesh of the
	// token. It is empty for the kind zone.
	Mesh string

	// For Issue and Renew, Dataplane or Zone, depending on Kind, holds the claims of the
	// token, and ValidFor the lifetime of the new one. For Renew they are those of the token
	// that was presented, which is good, and an issuer may shorten the lifetime.
	Dataplane token.Dataplane
	Zone      token.Zone
	ValidFor  time.Duration

	// TokenIDs are the ids (jti) to Revoke or Restore, at least one. For Renew it is the one
	// of the token.
	TokenIDs []string

	// Cutoff is the cutoff to add or remove, for CutOff and RemoveCutoff. If UntilNow is
	// true, its Before is zero: the handler takes the moment that UntilNow of dataplane and
	// zone returns, which is at most four minutes ahead.
	Cutoff   revocation.Cutoff
	UntilNow bool

	// For CreateKey and AddKey, PublicKey is the public half of a key in a KMS or HSM. If it
	// is nil, the server makes the key; for AddKey it has this number of Bits.
	PublicKey *signing.PublicKey
	Bits      int

	// KeyID is the serial, in decimal, of the key to remove. Force removes it even if it
	// signs or is in use. If UnlessUsedSince is not zero, a use after that time counts.
	KeyID           string
	Force           bool
	UnlessUsedSince time.Time

	// Lifetime is the longest validity of any token, or of a lineage, for Prune.
	Lifetime time.Duration

	// DryRun is true for a CutOff or a Prune that changes nothing: the answer says what it
	// would do.
	DryRun bool
}

// An Authorizer decides whether a request is allowed, and names the actor for
// the audit log. A request is allowed if err is nil and actor is not empty.
//
// The handler answers an error that matches [ErrUnauthenticated] with 401, one that
// matches token.ErrUnavailable with 503, and every other error with 403. The client
// sees only the text of a [Denied]; the audit log has the text of every error, and
// the actor if there is one.
//
// r is for headers and the connection; its body has been read. For [Renew] its header
// Authorization has the token, which is good. The handler may call
// the function concurrently. The function must not change its arguments and should
// return when r's context ends.
type Authorizer func(r *http.Request, what Request) (actor string, err error)

// ErrUnauthenticated: the client is not authenticated. An [Authorizer] returns it to
// answer 401 and ask for a bearer token. A [Client] returns it for an answer of 401.
var ErrUnauthenticated = errors.New("unauthenticated")

// Denied returns an error for an [Authorizer] or an issuer's policy. The handler
// answers 403 with the detail.
func Denied(detail string) error { return &denied{detail} }

type denied struct{ detail string }

func (d *denied) Error() string { return d.detail }

// errRefused wraps an authoriser's error.
var errRefused = errors.New("not allowed")

// An Option is an option of [New].
type Option func(*handler) error

// WithPublicKeySets serves the public keys to every client, without asking the
// authoriser, and lets shared caches keep them. Until the handler has served the keys
// of a mesh once, requests for them share ten reads a second with requests for meshes
// that do not exist: a client that sends many of those can delay the first answer.
func WithPublicKeySets() Option {
	return func(h *handler) error {
		h.publicKeySets = true
		return nil
	}
}

// WithAdmission sets a function that looks at a request before its body is read. It can
// only refuse: the authoriser still decides about each request that it lets pass. It
// sees the headers, the connection, and of the request the action, the kind and the mesh
// in the path. Its errors are answered as those of an [Authorizer].
//
// Without it anyone who reaches the server makes it read bodies of up to 1 MiB. All
// requests together then take at most some 64 MiB; a request that finds no memory left
// gets 503. Bodies of up to 4 KiB, such as requests for tokens, are read in any case.
func WithAdmission(admit func(r *http.Request, what Request) error) Option {
	return func(h *handler) error {
		if admit == nil {
			return errors.New("WithAdmission: the function is nil")
		}
		h.admit = admit
		return nil
	}
}

// WithLogger sets the logger; the default is slog.Default(). The handler logs
// "request failed" at Warn, with the cause of each answer of 500 or 503, and when
// keys have changed, "key records with faults" at Warn and "built key set" at Info. The
// former is also logged at each ListKeys.
// The audit events of all requests go to this logger too, even if the issuer has
// another one.
func WithLogger(log *slog.Logger) Option {
	return func(h *handler) error {
		if log == nil {
			return errors.New("WithLogger: the logger is nil")
		}
		h.log, h.ownLog = log, true
		return nil
	}
}

// WithDataplaneValidators lets dry runs of CutOff and Prune for a mesh say how many open
// sessions of this process they would end, and how its keys are used. ListKeys says the
// latter too, and RemoveKey refuses a key that they show in use. The handler does not
// close the validators.
func WithDataplaneValidators(validators ...dataplane.Validator) Option {
	return func(h *handler) error {
		if slices.Contains(validators, nil) {
			return errors.New("WithDataplaneValidators: a validator is nil")
		}
		h.validators = append(h.validators, validators...)
		return nil
	}
}

// WithZoneValidators is [WithDataplaneValidators] for zone tokens.
func WithZoneValidators(validators ...zone.Validator) Option {
	return func(h *handler) error {
		if slices.Contains(validators, nil) {
			return errors.New("WithZoneValidators: a validator is nil")
		}
		h.zoneValidators = append(h.zoneValidators, validators...)
		return nil
	}
}

type handler struct {
	store         keystore.KeyStore
	dataplanes    dataplane.Issuer
	zones         zone.Issuer
	authorize     Authorizer
	publicKeySets bool
	log           *slog.Logger
	ownLog        bool // log is from WithLogger
	rules         Rules
	index         []byte // nil: none
	keys          *keySets
	admit         func(r *http.Request, what Request) error // nil: every request
	bodies        pool

	validators     []dataplane.Validator
	zoneValidators []zone.Validator
	publishDelay   time.Duration

	renewing renewing
}

// New returns the handler. All four parameters are required: for a control plane
// that issues nothing, pass a dataplane.NewDisabledIssuer and a
// zone.NewDisabledIssuer. The store holds the keys, the revocation lists and the cutoffs.
// The handler runs nothing in the background.
func New(store keystore.KeyStore, dataplanes dataplane.Issuer, zones zone.Issuer, authorize Authorizer, options ...Option) (http.Handler, error) {
	switch {
	case store == nil:
		return nil, errors.New("httpapi: the store is nil")
	case dataplanes == nil || zones == nil:
		return nil, errors.New("httpapi: an issuer is nil (NewDisabledIssuer of dataplane and zone issues nothing)")
	case authorize == nil:
		return nil, errors.New("httpapi: the authoriser is nil; there is no default")
	}
	h := &handler{store: store, dataplanes: dataplanes, zones: zones, authorize: authorize, log: slog.Default()}
	for _, o := range options {
		if o == nil {
			return nil, errors.New("httpapi: an option is nil")
		}
		if err := o(h); err != nil {
			return nil, fmt.Errorf("httpapi: %w", err)
		}
	}
	h.keys = newKeySets(store, h.log)
	return h, nil
}

// ServeHTTP reads the whole request, asks the authoriser, and only then acts. The index
// alone is for everyone.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	ctx := r.Context()
	if h.ownLog {
		ctx = audit.WithLogger(ctx, h.log)
	}
	if h.index != nil && isIndex(r) {
		h.serveIndex(w, r)
		return
	}
	what, err := h.route(w, r)
	if err != nil {
		h.fail(ctx, w, what, err)
		return
	}
	if what.Action == Renew {
		if err := h.renew(ctx, w, r, what); err != nil {
			h.fail(ctx, w, what, err)
		}
		return
	}
	release := func() {}
	defer func() { release() }() // also after a panic of the authoriser
	if h.admit != nil {
		if refused := h.admit(r, what); refused != nil {
			err = fmt.Errorf("%w: %w", errRefused, refused)
		}
	}
	if err == nil {
		release = h.bodies.charge(r)
		err = h.read(w, r, &what)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout) // the http.Server limits the time for reading
	defer cancel()
	if err == nil && !(what.Action == Keys && h.publicKeySets) {
		var actor string
		actor, err = h.allow(r.WithContext(ctx), what)
		ctx = audit.WithActor(ctx, actor)
	}
	release()
	if err != nil {
		h.logRefused(ctx, what, err)
		h.fail(ctx, w, what, err)
		return
	}
	if err := h.do(ctx, w, r, what); err != nil {
		h.fail(ctx, w, what, err)
	}
}

// restorePath ends the path under which POST restores. It does what DELETE does, whose
// body some proxies drop (RFC 9110, section 9.3.5).
const restorePath = "/restore"

// firstPath ends the path under which POST creates the first key.
const firstPath = "/first"

// removePath ends the path under which POST removes a cutoff or a key.
const removePath = "/remove"

// prunePath ends the path under which POST prunes a revocation list.
const prunePath = "/prune"

// renewPath ends the path under which POST renews a token.
const renewPath = "/renew"

// listsPath ends the path under which POST makes a list of a mesh.
const listsPath = "/lists"

// route returns what the method and the path of a request ask for.
func (h *handler) route(w http.ResponseWriter, r *http.Request) (Request, error) {
	// The escaped path, so that an escaped slash does not divide it.
	resource, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	kind, rest, more := strings.Cut(rest, "/")
	what := Request{Kind: token.Kind(kind)}
	if what.Kind != token.KindDataplane && what.Kind != token.KindZone {
		return what, notFound()
	}
	mesh, ofMesh := "", what.Kind == token.KindDataplane && resource != "tokens"
	if ofMesh {
		if mesh, rest, more = strings.Cut(rest, "/"); mesh == "" {
			return what, notFound()
		}
	}
	if resource == "tokens" && rest == "" {
		more = false // a slash at the end, as Kuma takes it
	}
	restoring := more && "/"+rest == restorePath && resource == "revocations"
	making := more && "/"+rest == listsPath && resource == "revocations" && ofMesh
	pruning := more && "/"+rest == prunePath && resource == "revocations"
	removing := more && "/"+rest == removePath && (resource == "cutoffs" || resource == "keys")
	creating := more && "/"+rest == firstPath && resource == "keys"
	if resource == "tokens" && "/"+rest == renewPath && h.renewing.serves(what.Kind) {
		if what.Action = Renew; r.Method != http.MethodPost {
			return what, methodNotAllowed(w, map[string]Action{http.MethodPost: Renew})
		}
		return what, nil
	}
	if more && !restoring && !making && !pruning && !removing && !creating {
		return what, notFound()
	}
	var actions map[string]Action
	switch {
	case restoring:
		actions = map[string]Action{http.MethodPost: Restore}
	case making:
		actions = map[string]Action{http.MethodPost: MakeGlobalList}
	case pruning:
		actions = map[string]Action{http.MethodPost: Prune}
	case resource == "tokens":
		actions = map[string]Action{http.MethodPost: Issue}
	case resource == "revocations":
		actions = map[string]Action{http.MethodGet: List, http.MethodHead: List, http.MethodPost: Revoke, http.MethodDelete: Restore}
	case creating:
		actions = map[string]Action{http.MethodPost: CreateKey}
	case removing && resource == "keys":
		actions = map[string]Action{http.MethodPost: RemoveKey}
	case removing:
		actions = map[string]Action{http.MethodPost: RemoveCutoff}
	case resource == "cutoffs":
		actions = map[string]Action{http.MethodGet: ListCutoffs, http.MethodHead: ListCutoffs, http.MethodPost: CutOff}
	case resource == "keys":
		actions = map[string]Action{http.MethodGet: ListKeys, http.MethodHead: ListKeys, http.MethodPost: AddKey}
	case resource == "jwks":
		actions = map[string]Action{http.MethodGet: Keys, http.MethodHead: Keys}
	default:
		return what, notFound()
	}
	action, ok := actions[r.Method]
	if !ok {
		return what, methodNotAllowed(w, actions)
	}
	what.Action = action
	if ofMesh {
		var err error
		if what.Mesh, err = url.PathUnescape(mesh); err == nil {
			err = checkMesh(what.Mesh)
		}
		if err != nil {
			return what, invalid(InvalidParameter{"mesh", err.Error()})
		}
	}
	return what, nil
}

// errEmpty is about a required field, in the words of Kuma.
var errEmpty = errors.New("cannot be empty")

func checkMesh(mesh string) error {
	if mesh == "" {
		return errEmpty
	}
	return keystore.CheckScope(keystore.Scope(mesh))
}

// read reads the body of a request.
func (h *handler) read(w http.ResponseWriter, r *http.Request, what *Request) error {
	switch what.Action {
	case Issue:
		return readTokenRequest(w, r, h.rules, what)
	case Revoke, Restore:
		return readTokenIDs(w, r, what)
	case MakeGlobalList:
		return readListScope(w, r)
	case Prune:
		return readPruning(w, r, what)
	case CutOff, RemoveCutoff:
		return readCutoff(w, r, what)
	case CreateKey, AddKey:
		return readNewKey(w, r, what)
	case RemoveKey:
		return h.readKeyRemoval(w, r, what)
	}
	return nil
}

func (h *handler) allow(r *http.Request, what Request) (actor string, err error) {
	actor, err = h.authorize(r, what)
	if err == nil && actor == "" {
		// An authoriser that returns two zero values has not decided.
		err = errors.New("the authoriser named no actor")
	}
	if err != nil {
		return actor, fmt.Errorf("%w: %w", errRefused, err)
	}
	return actor, nil
}

func (h *handler) do(ctx context.Context, w http.ResponseWriter, r *http.Request, what Request) error {
	switch what.Action {
	case Issue:
		return h.issue(ctx, w, what)
	case List:
		return h.list(ctx, w, r, what)
	case Revoke, Restore:
		return h.change(ctx, w, what)
	case MakeGlobalList:
		return h.makeGlobalList(ctx, w, what)
	case Prune:
		return h.prune(ctx, w, what)
	case ListCutoffs:
		return h.listCutoffs(ctx, w, what)
	case CutOff:
		return h.cutOff(ctx, w, what)
	case RemoveCutoff:
		return h.removeCutoff(ctx, w, what)
	case ListKeys:
		return h.listKeys(ctx, w, what)
	case CreateKey, AddKey:
		return h.addKey(ctx, w, what)
	case RemoveKey:
		return h.removeKey(ctx, w, what)
	default:
		return h.serveKeys(ctx, w, r, what)
	}
}

// logRefused logs a refusal that reaches neither an issuer nor a list.
func (h *handler) logRefused(ctx context.Context, what Request, err error) {
	audit.Log(ctx, h.log, audit.Event{
		Action:   audit.Action(what.Action),
		Err:      err,
		Kind:     what.Kind,
		Mesh:     what.Mesh,
		Name:     what.Dataplane.Name + what.Cutoff.Name, // one of the two
		Type:     what.Dataplane.Type,
		Workload: what.Dataplane.Workload + what.Cutoff.Workload,
		Tags:     what.Dataplane.Tags,
		Zone:     what.Zone.Zone + what.Cutoff.Zone,
		KeyID:    what.Cutoff.KeyID + what.KeyID,
		Before:   what.Cutoff.Before,
		Scope:    what.Zone.Scope,
		TokenID:  someOf(what.TokenIDs), // one event, so that a refused client cannot flood the log
	})
}

// someOf names the first few ids, each once.
func someOf(ids []string) string {
	const shown = 16
	var some []string
	for i, id := range ids {
		if len(some) == shown {
			return fmt.Sprintf("%s and up to %d more", strings.Join(some, ","), len(ids)-i)
		}
		if !slices.Contains(some, id) {
			some = append(some, id)
		}
	}
	return strings.Join(some, ",")
}
