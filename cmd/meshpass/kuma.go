package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// kumaVersion is a version of Kuma, or of Kong Mesh, which has the same numbers.
type kumaVersion struct{ major, minor, patch int }

// kumaRules is what Kuma makes of tokens from a version on, until the next one in the
// table. docs/kuma.md has the same in words.
type kumaRules struct {
	from kumaVersion

	// boundary is what a token is compared with. Kuma never compares its type.
	boundary dataplane.Boundary

	knowsWorkload  bool // earlier versions drop the claim
	refusesFuture  bool // a token whose iat is in the future
	takesHS256     bool // with a key of serial 0 that is no RSA key
	zonesHaveProxy bool // an ingress or egress connects with a zone token
}

var kumaTable = []kumaRules{
	{from: kumaVersion{2, 10, 0}, boundary: dataplane.AsKuma210(), takesHS256: true, zonesHaveProxy: true, refusesFuture: true},
	{from: kumaVersion{2, 11, 0}, boundary: dataplane.AsKuma210(), takesHS256: true, zonesHaveProxy: true},
	{from: kumaVersion{2, 13, 0}, boundary: dataplane.AsKuma210(), takesHS256: true, zonesHaveProxy: true, knowsWorkload: true},
	{from: kumaVersion{2, 13, 10}, boundary: dataplane.AsKuma214(), takesHS256: true, zonesHaveProxy: true, knowsWorkload: true},
	{from: kumaVersion{2, 14, 0}, boundary: dataplane.AsKuma210(), takesHS256: true, zonesHaveProxy: true, knowsWorkload: true},
	{from: kumaVersion{2, 14, 2}, boundary: dataplane.AsKuma214(), takesHS256: true, zonesHaveProxy: true, knowsWorkload: true},
	{from: kumaVersion{3, 0, 0}, boundary: dataplane.AsKuma30(), knowsWorkload: true},
}

// kumaNames are the values of --for that the help and the completion name.
var kumaNames = []string{"kuma-2.10", "kuma-2.11", "kuma-2.12", "kuma-2.13", "kuma-2.14", "kuma-3.0"}

// namedRules are the rules of a version, with the name that the user gave it.
type namedRules struct {
	name string
	kumaRules
}

// rulesOf parses a value of --for: kuma-2.14, or with a patch, kuma-2.14.1. Without a
// patch it is the latest one.
func rulesOf(name string) (namedRules, error) {
	const latest = 1 << 16
	wrong := usagef("--for: %q is none of %s, with or without a patch such as kuma-2.14.1", name, strings.Join(kumaNames, ", "))
	text, _ := strings.CutPrefix(name, "kuma-")
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 3 || !slices.Contains(kumaNames, "kuma-"+parts[0]+"."+parts[1]) {
		return namedRules{}, wrong
	}
	major, _ := strconv.Atoi(parts[0]) // those in kumaNames are numbers
	minor, _ := strconv.Atoi(parts[1])
	version := kumaVersion{major, minor, latest}
	if len(parts) == 3 {
		patch, err := strconv.ParseUint(parts[2], 10, 15)
		if err != nil {
			return namedRules{}, wrong
		}
		version.patch = int(patch)
	}
	found := kumaTable[0]
	for _, rules := range kumaTable {
		if rules.from.compare(version) <= 0 {
			found = rules
		}
	}
	return namedRules{"kuma-" + text, found}, nil
}

func allRulesOf(names []string) ([]namedRules, error) {
	var all []namedRules
	for _, name := range names {
		rules, err := rulesOf(name)
		if err != nil {
			return nil, err
		}
		all = append(all, rules)
	}
	return all, nil
}

func (v kumaVersion) compare(other kumaVersion) int {
	return slices.Compare([]int{v.major, v.minor, v.patch}, []int{other.major, other.minor, other.patch})
}

// tagService is a tag of inbounds that is no label.
const tagService = "kuma.io/service"

// outcome is what a version makes of a token.
type outcome string

const (
	accepted outcome = "accepted"
	depends  outcome = "depends"
	refused  outcome = "refused"
)

// judgement is what a version makes of a token, and why.
type judgement struct {
	outcome outcome
	reasons []string // of that outcome
	changes []string // what to do before an upgrade to that version
}

func (j *judgement) add(o outcome, reason string) {
	if o == refused && j.outcome != refused || o == depends && j.outcome == accepted {
		j.outcome, j.reasons = o, nil
	}
	if o == j.outcome {
		j.reasons = append(j.reasons, reason)
	}
}

func (j *judgement) change(format string, args ...any) {
	j.changes = append(j.changes, fmt.Sprintf(format, args...))
}

func (j judgement) String() string {
	if len(j.reasons) == 0 {
		return string(j.outcome)
	}
	return string(j.outcome) + ": " + oneLine(strings.Join(j.reasons, "; "))
}

// presented is a token, as far as it can be read.
type presented struct {
	claims    token.Claims
	algorithm string
	err       error // why it cannot be read, or was refused for its key or its revocation
	hidden    bool  // it is revoked in a list that Kuma does not read
}

// present reads a token. checked is the error of a validator, or nil.
func present(raw string, checked error) presented {
	p := presented{algorithm: "RS256"}
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		p.err = err
		return p
	}
	p.claims, p.err = claimsOf(raw)
	if _, err := unverified.Header(); err != nil {
		if p.algorithm = algorithmOf(unverified); p.algorithm == "RS256" {
			p.err = errors.Join(p.err, err)
		}
	}
	for _, reason := range []error{token.ErrSignature, token.ErrUnknownKey, token.ErrRevoked} {
		if p.err == nil && p.algorithm == "RS256" && errors.Is(checked, reason) {
			p.err = checked
		}
	}
	return p
}

// algorithmOf reads what a header that the library refuses says about the algorithm.
func algorithmOf(u token.Unverified) string {
	var header struct {
		Alg string `json:"alg"`
	}
	data, err := base64.RawURLEncoding.DecodeString(u.EncodedHeader())
	if err != nil || json.Unmarshal(data, &header) != nil {
		return "RS256" // for the error of the library
	}
	return header.Alg
}

// judge says what a version makes of a token and, unless it is nil, of that proxy with
// it.
func (r kumaRules) judge(p presented, proxy *dataplane.Proxy, now time.Time) judgement {
	j := judgement{outcome: accepted}
	if p.err != nil {
		if !p.hidden {
			j.add(refused, p.err.Error())
			return j
		}
		j.change("it is revoked only in the list of the mesh, which Kuma does not read: meshpass revocations make-global --mesh %s", plain(p.claims.Dataplane.Mesh))
	}
	switch {
	case p.algorithm == "RS256":
	case p.algorithm == "HS256" && r.takesHS256:
		j.add(depends, "its algorithm is HS256, which only a control plane with the old key of serial 0 checks")
		j.change("make the token anew, with an RSA key")
	default:
		j.add(refused, fmt.Sprintf("its algorithm is %.16q, want RS256", p.algorithm))
		j.change("make the token anew, with an RSA key")
	}
	r.judgeTimes(&j, p.claims, now)
	if p.claims.Kind() == token.KindZone {
		r.judgeZone(&j, p.claims.Zone)
		if proxy != nil {
			j.add(refused, "it is a zone token, and a Dataplane needs a dataplane token")
		}
		return j
	}
	r.judgeProxy(&j, p.claims.Dataplane, proxy)
	return j
}

// judgeTimes is without a leeway, as Kuma is.
func (r kumaRules) judgeTimes(j *judgement, claims token.Claims, now time.Time) {
	if !claims.ExpiresAt.IsZero() && !now.Before(claims.ExpiresAt) {
		j.add(refused, "it has expired")
	}
	if now.Before(claims.NotBefore) {
		j.add(refused, "it is not valid yet")
	}
	if r.refusesFuture && now.Before(claims.IssuedAt) {
		j.add(refused, "its time of issue (iat) is in the future")
	}
	if claims.ExpiresAt.IsZero() {
		j.change("it never expires; make one that does, which Meshpass asks for")
	}
	if claims.ID == "" {
		j.change("it cannot be revoked; make one with an id (jti), which Meshpass asks for")
	}
}

func (r kumaRules) judgeZone(j *judgement, claims token.Zone) {
	cp := slices.Contains(claims.Scope, zone.ScopeCP)
	proxies := slices.Contains(claims.Scope, zone.ScopeIngress) || slices.Contains(claims.Scope, zone.ScopeEgress)
	switch {
	case cp:
	case proxies && r.zonesHaveProxy:
	case proxies:
		j.add(refused, "it has not the scope cp, and a zone's ingress and egress are Dataplanes with dataplane tokens")
	default:
		j.add(refused, "it has none of the scopes that open something")
	}
	if proxies && !r.zonesHaveProxy {
		j.change("give the ingress and the egress of the zone dataplane tokens: meshpass generate dataplane-token")
	}
	if !cp {
		j.change("if it is for a control plane of a zone: meshpass generate zone-token --zone %s --scope cp", plain(claims.Zone))
	}
}

func (r kumaRules) judgeProxy(j *judgement, claims token.Dataplane, proxy *dataplane.Proxy) {
	if claims.Workload != "" && !r.knowsWorkload {
		j.change("this version drops the workload: with this token a proxy may have any")
		claims.Workload = ""
	}
	if claims.Type != "" && claims.Type != "dataplane" {
		switch {
		case r.zonesHaveProxy:
			j.change("this version does not compare the type %s: an ingress or egress connects with a zone token there", plain(claims.Type))
		case proxy == nil:
			j.add(refused, fmt.Sprintf("a proxy of type %s may not connect, and no such token is issued", plain(claims.Type)))
			fallthrough
		default:
			j.change("make the ingress or egress a Dataplane, with a token of type dataplane")
		}
	}
	claims.Type = "" // never compared
	onLabels := r.boundary.Tags == dataplane.TagsOnLabels
	if onLabels && len(claims.Tags) > 0 {
		j.change("make a token without tags, or with tags that are labels of the proxy: this version does not know tags of inbounds")
	}
	if onLabels && proxy != nil {
		judgeForm(j, *proxy)
	}
	if proxy != nil {
		boundary := r.boundary
		boundary.WorkloadOptional = true // judgeWorkload says more
		if err := boundary.PermitsUnverified(claims, *proxy); err != nil {
			j.add(refused, strings.TrimPrefix(err.Error(), token.ErrNotPermitted.Error()+": "))
		}
	}
	if !r.boundary.WorkloadOptional && claims.Workload == "" {
		r.judgeWorkload(j, proxy)
	}
	if proxy != nil {
		return
	}
	for _, tag := range slices.Sorted(maps.Keys(claims.Tags)) {
		switch {
		case !onLabels:
		case tag == tagService:
			j.add(refused, "the proxy must have the label kuma.io/service, and there is no such label")
		default:
			j.add(depends, fmt.Sprintf("the proxy must have the label %s=%s", plain(tag), strings.Join(claims.Tags[tag], "|")))
		}
	}
}

// judgeForm says what in a Dataplane of 2.x has to become another thing in 3.0.
func judgeForm(j *judgement, proxy dataplane.Proxy) {
	if slices.ContainsFunc(proxy.Inbounds, func(tags map[string]string) bool { return len(tags) > 0 }) {
		j.change("make the tags of the proxy's inbounds labels of the proxy: this version does not know them")
	}
	if _, ok := proxy.Labels[tagService]; ok {
		j.change("remove the label %s from the proxy: later versions refuse labels below kuma.io/ that they do not know", tagService)
	}
}

// judgeWorkload is for a token without a workload.
func (r kumaRules) judgeWorkload(j *judgement, proxy *dataplane.Proxy) {
	const whose = "where its identity rests on that, which is the default on Universal"
	switch {
	case proxy == nil:
		j.add(depends, "a proxy with the label kuma.io/workload needs a token that names it, "+whose)
		j.change("make a token with --workload")
	case proxy.Labels[dataplane.LabelWorkload] == "":
		j.change("a proxy without the label kuma.io/workload is refused with any token, " + whose)
	default:
		workload := proxy.Labels[dataplane.LabelWorkload]
		j.add(refused, fmt.Sprintf("the proxy's workload is %.64q, and the token names none; it is refused %s", workload, whose))
		j.change("make a token with --workload %s", plain(workload))
	}
}
