package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const (
	mesh     = "default"
	validFor = 24 * time.Hour // of tokens

	// publishDelay is longer than a new key takes from the global store to the validators of
	// all zones: twice 250 ms for polling a folder, and a message.
	publishDelay = 2 * time.Second
)

// runScene starts a global control plane, two zones and their proxies as processes, and plays
// a scene. It returns an error as soon as something does not happen as it says.
func runScene(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) (err error) {
	verbose := flags.Bool("v", false, "show the logs of all processes")
	if err := parse(flags, args); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "meshpass-")
	if err != nil {
		return err
	}
	began := time.Now()
	s := &scene{folder: folder, out: out, proxies: map[string]*process{}}
	if *verbose {
		s.verbose = out
	}
	defer func() {
		err = errors.Join(err, s.cleanUp(err != nil))
		if err == nil {
			s.say("end", "all processes have ended and all files are gone, after %.0f s", time.Since(began).Seconds())
		}
	}()
	for _, act := range []func(context.Context) error{
		s.start, s.connect, s.revoke, s.replaceToken, s.rotate, s.removeKey,
		s.authenticateZones, s.stopGlobal, s.restartZone, s.startGlobal, s.showMetrics,
	} {
		if err := act(ctx); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			for _, p := range s.running {
				fmt.Fprint(out, p.last(8))
			}
			return err
		}
	}
	return nil
}

type scene struct {
	folder  string
	out     io.Writer
	verbose io.Writer
	ask     operator

	running    []*process
	global     *controlPlane
	west, east *controlPlane
	proxies    map[string]*process
	store      *dir.Store // of the global control plane
}

// controlPlane is a control plane that runs.
type controlPlane struct {
	*process
	folder, address, metrics string
}

// say prints what has happened.
func (s *scene) say(what, format string, args ...any) {
	fmt.Fprintf(s.out, "%-10s %s\n", what, fmt.Sprintf(format, args...))
}

func (s *scene) path(name string) string { return filepath.Join(s.folder, name) }

// start starts the control planes. Zones have no tokens yet.
func (s *scene) start(ctx context.Context) error {
	err := newCertificates(s.folder, globalName, zoneName("west"), zoneName("east"))
	if err != nil {
		return err
	}
	if s.global, err = s.runGlobal(ctx, "127.0.0.1:0", authNone); err != nil {
		return err
	}
	if s.store, err = dir.Open(filepath.Join(s.global.folder, "store")); err != nil {
		return err
	}
	for _, zone := range []struct {
		name string
		at   **controlPlane
	}{{"west", &s.west}, {"east", &s.east}} {
		at := zone.at
		if *at, err = s.runZone(ctx, zone.name, "127.0.0.1:0"); err != nil {
			return err
		}
		if _, err := s.global.await(ctx, "Zone CP connected without a token"); err != nil {
			return err
		}
		if _, err := (*at).await(ctx, "keys and revocations received"); err != nil {
			return err
		}
	}
	s.say("start", "a global control plane without zone authentication, and zones west and east,")
	s.say("", "which verify its certificate and receive public keys and revocations from it")
	for _, at := range []*controlPlane{s.west, s.east} {
		if err := s.checkZoneStore(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) runGlobal(ctx context.Context, address, authentication string) (*controlPlane, error) {
	return s.runControlPlane(ctx, "global", "global",
		"-listen", address, "-cert", s.path(globalName+".pem"),
		"-zone-authentication", authentication, "-publish-delay", publishDelay.String(), "-mesh", mesh)
}

func (s *scene) runZone(ctx context.Context, name, address string) (*controlPlane, error) {
	return s.runControlPlane(ctx, name, "zone", "-name", name,
		"-listen", address, "-cert", s.path(zoneName(name)+".pem"),
		"-global", s.global.address, "-ca", s.path("ca.pem"), "-token-file", s.path(name+".token"), "-mesh", mesh)
}

func (s *scene) runControlPlane(ctx context.Context, name, subcommand string, args ...string) (*controlPlane, error) {
	folder := s.path(name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	p, err := s.run(name, append([]string{subcommand, "-dir", folder}, args...)...)
	if err != nil {
		return nil, err
	}
	listening, err := p.await(ctx, "listening")
	if err != nil {
		return nil, err
	}
	p.rewind() // it did other things meanwhile, which may be in the log already
	return &controlPlane{p, folder, fmt.Sprint(listening["address"]), fmt.Sprint(listening["metrics"])}, nil
}

func (s *scene) run(name string, args ...string) (*process, error) {
	p, err := startProcess(name, s.verbose, args...)
	if err == nil {
		s.running = append(s.running, p)
	}
	return p, err
}

// stop ends a process for good.
func (s *scene) stop(p *process) error {
	s.running = slices.DeleteFunc(s.running, func(r *process) bool { return r == p })
	return p.stop()
}

// checkZoneStore checks that no private key has left the global control plane.
func (s *scene) checkZoneStore(ctx context.Context, at *controlPlane) error {
	store, err := dir.Open(filepath.Join(at.folder, "store"))
	if err != nil {
		return err
	}
	records, err := store.List(ctx, keystore.AllScopes, "")
	if err != nil {
		return err
	}
	var names []string
	for _, r := range records {
		if !isGoverned(r.Name) || strings.Contains(string(r.Data), "PRIVATE") {
			return fmt.Errorf("zone %s has the record %s", at.name, r.Name)
		}
		names = append(names, r.Name)
	}
	s.say("", "store of zone %s: %s", at.name, strings.Join(names, ", "))
	return nil
}

// connect connects proxies with tokens that the global control plane issued.
func (s *scene) connect(ctx context.Context) error {
	for _, p := range []struct {
		name string
		at   *controlPlane
	}{{"dp-1", s.west}, {"dp-2", s.west}, {"dp-3", s.east}} {
		if err := s.runProxy(ctx, p.name, p.at, s.global); err != nil {
			return err
		}
		if _, err := s.proxies[p.name].await(ctx, "connected"); err != nil {
			return err
		}
	}
	s.say("connect", "dp-1 and dp-2 to west, dp-3 to east, with dataplane tokens that the global control plane issued")
	return nil
}

// runProxy runs a proxy that connects to a zone, with a token that a control plane issues.
func (s *scene) runProxy(ctx context.Context, name string, at, issuer *controlPlane, args ...string) (err error) {
	if _, err := s.newToken(ctx, name, issuer); err != nil {
		return err
	}
	s.proxies[name], err = s.run(name, append([]string{"proxy", "-address", at.address, "-zone", at.name,
		"-ca", s.path("ca.pem"), "-token-file", s.path(name + ".token"), "-mesh", mesh, "-name", name, "-service", "backend"}, args...)...)
	return err
}

// newToken replaces the token file of a proxy.
func (s *scene) newToken(ctx context.Context, name string, issuer *controlPlane) (raw string, err error) {
	raw, err = s.ask.dataplaneToken(ctx, issuer.folder, token.Dataplane{
		Mesh: mesh, Name: name, Tags: map[string][]string{"kuma.io/service": {"backend"}}})
	if err != nil {
		return "", err
	}
	return raw, replaceFile(s.path(name+".token"), raw)
}

// replaceFile puts a whole file in the place of another.
func replaceFile(path, text string) error {
	next := path + ".next"
	if err := os.WriteFile(next, []byte(text+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// tokenID returns the id (jti) of the token in a proxy's file.
func (s *scene) tokenID(name string) (string, error) {
	raw, err := os.ReadFile(s.path(name + ".token"))
	if err != nil {
		return "", err
	}
	unverified, err := token.ParseUnverified(strings.TrimSpace(string(raw)))
	if err != nil {
		return "", err
	}
	claims, err := unverified.Claims()
	return claims.ID, err
}

// revoke takes back one token by its id.
func (s *scene) revoke(ctx context.Context) error {
	id, err := s.tokenID("dp-1")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := dataplane.Revoke(ctx, s.store, mesh, id); err != nil {
		return err
	}
	if _, err := s.proxies["dp-1"].await(ctx, "stream ended", "code", "Unauthenticated"); err != nil {
		return err
	}
	s.say("revoke", "dp-1's token, on the global: %d ms later its stream in west ends as Unauthenticated", time.Since(began).Milliseconds())
	if _, err := s.proxies["dp-1"].await(ctx, "stream ended", "code", "Unauthenticated"); err != nil {
		return err // it has tried again
	}
	if err := s.proxies["dp-2"].none("stream ended"); err != nil {
		return err
	}
	if err := s.awaitMetric(ctx, s.west, `meshpass_sessions{kid="1",kind="dataplane",mesh="default"} 1`); err != nil {
		return err
	}
	s.say("", "dp-1 is refused when it comes back; dp-2's stream stays")
	return nil
}

// replaceToken gives a proxy a new token while it runs.
func (s *scene) replaceToken(ctx context.Context) error {
	if _, err := s.newToken(ctx, "dp-1", s.global); err != nil {
		return err
	}
	if _, err := s.proxies["dp-1"].await(ctx, "connected"); err != nil {
		return err
	}
	s.say("replace", "dp-1's token file, while dp-1 runs: at its next attempt it connects")
	return nil
}

// loads are proxies that continuously open streams.
var loads = []string{"load-west", "load-east"}

// rotate adds a signing key while proxies continuously connect and their tokens are
// continuously replaced.
func (s *scene) rotate(ctx context.Context) error {
	for i, at := range []*controlPlane{s.west, s.east} {
		if err := s.runProxy(ctx, loads[i], at, s.global, "-hold", "20ms"); err != nil {
			return err
		}
		if _, err := s.proxies[loads[i]].await(ctx, "connected"); err != nil {
			return err
		}
	}
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		return err
	}
	added, err := dataplane.AddKey(ctx, s.store, mesh, key)
	if err != nil {
		return err
	}
	began, issued := time.Now(), 0
	for signs := 0; signs < len(loads); {
		signs = 0
		for _, name := range loads {
			raw, err := s.newToken(ctx, name, s.global)
			if err != nil {
				return err
			}
			issued++
			if keyID(raw) == added.Serial.KeyID() {
				signs++
			}
		}
		if time.Since(began) > patience {
			return fmt.Errorf("key %d does not sign %s after it was added", added.Serial, patience)
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.say("rotate", "key %d is added while proxies connect; it signs %.1f s later, when all zones know it;", added.Serial, time.Since(began).Seconds())
	s.say("", "%d tokens were issued meanwhile", issued)
	for _, name := range []string{"dp-1", "dp-3"} {
		if _, err := s.newToken(ctx, name, s.global); err != nil {
			return err
		}
	}
	return nil
}

// removeKey removes the key that signed before.
func (s *scene) removeKey(ctx context.Context) error {
	// Wait until the loads have taken up their new tokens, and only the long streams have
	// tokens of the key:
	for _, open := range []struct {
		at      *controlPlane
		streams int
	}{{s.west, 2}, {s.east, 1}} {
		for _, line := range []string{
			`meshpass_sessions{kid="2",kind="dataplane",mesh="default"} 1`,
			fmt.Sprintf(`meshpass_sessions{kid="1",kind="dataplane",mesh="default"} %d`, open.streams),
		} {
			if err := s.awaitMetric(ctx, open.at, line); err != nil {
				return err
			}
		}
	}
	replaced := time.Now()
	var reports []dataplane.KeyUse
	for _, at := range []*controlPlane{s.west, s.east} {
		uses, err := s.ask.usage(ctx, at.folder)
		if err != nil {
			return err
		}
		reports = append(reports, uses...)
	}
	delay := dataplane.WithPublishDelay(publishDelay)
	err := dataplane.RemoveKey(ctx, s.store, mesh, 1, delay, dataplane.UnlessUsed(replaced, reports...))
	if !errors.Is(err, signing.ErrInUse) {
		return fmt.Errorf("removing a key that is in use: got %v, want %v", err, signing.ErrInUse)
	}
	s.say("remove", "key 1, unless the zones report that it is in use: %v", err)
	if err := dataplane.RemoveKey(ctx, s.store, mesh, 1, delay, dataplane.Forced()); err != nil {
		return err
	}
	for _, name := range []string{"dp-1", "dp-2", "dp-3"} {
		if _, err := s.proxies[name].await(ctx, "stream ended", "code", "Unauthenticated"); err != nil {
			return err
		}
	}
	for _, name := range []string{"dp-1", "dp-3"} {
		if _, err := s.proxies[name].await(ctx, "connected"); err != nil {
			return err
		}
	}
	if _, err := s.proxies["dp-2"].await(ctx, "stream ended", "code", "Unauthenticated"); err != nil {
		return err
	}
	s.say("", "forced: the streams of its tokens end; dp-1 and dp-3 have new tokens in their files and are back,")
	if _, err := s.newToken(ctx, "dp-2", s.global); err != nil {
		return err
	}
	if _, err := s.proxies["dp-2"].await(ctx, "connected"); err != nil {
		return err
	}
	s.say("", "dp-2 has none, and is refused until it gets one")
	for _, name := range loads {
		if err := s.stop(s.proxies[name]); err != nil {
			return err
		}
		stopped, err := s.proxies[name].await(ctx, "stopped")
		if err != nil {
			return err
		}
		streams, _ := stopped["streams"].(float64)
		if stopped["failures"] != 0.0 || streams < 5 {
			return fmt.Errorf("%s: %v", name, stopped)
		}
		s.say("", "%s opened %v streams from before the rotation until after it, and none was refused", name, streams)
	}
	return nil
}

// authenticateZones turns zone authentication on.
func (s *scene) authenticateZones(ctx context.Context) error {
	if err := s.zoneToken(ctx, s.west); err != nil {
		return err
	}
	if err := s.awaitMetric(ctx, s.global, "controlplane_zone_streams_without_token 1"); err != nil {
		return err
	}
	s.say("zones", `west gets a zone token; the global logs "Zone CP successfully authenticated" zone=west`)
	if _, err := s.ask.request(ctx, s.global.folder, http.MethodPut, "/zone-authentication", []byte(authCPToken)); err != nil {
		return err
	}
	if _, err := s.east.await(ctx, "stream from the global control plane ended", "code", "Unauthenticated"); err != nil {
		return err
	}
	if err := s.west.none("stream from the global control plane ended"); err != nil {
		return err
	}
	if err := s.awaitMetric(ctx, s.global, `meshpass_sessions{kid="1",kind="zone",mesh=""} 1`); err != nil {
		return err
	}
	s.say("", "zone authentication is turned on: east, which has no token, loses its stream, west's stays")
	if err := s.zoneToken(ctx, s.east); err != nil {
		return err
	}
	if err := s.proxies["dp-3"].none("stream ended"); err != nil {
		return err
	}
	s.say("", "east gets a token and is back; its proxy dp-3 stayed connected all the time")
	return nil
}

// zoneToken gives a zone a token, and waits until it is connected with it.
func (s *scene) zoneToken(ctx context.Context, at *controlPlane) error {
	raw, err := s.ask.zoneToken(ctx, s.global.folder, token.Zone{Zone: at.name, Scope: []string{zone.ScopeCP}})
	if err != nil {
		return err
	}
	if err := replaceFile(s.path(at.name+".token"), raw); err != nil {
		return err
	}
	if _, err := s.global.await(ctx, "Zone CP successfully authenticated", "zone", at.name); err != nil {
		return err
	}
	_, err = at.await(ctx, "connected to the global control plane")
	return err
}

// stopGlobal stops the global control plane; zone west issues tokens itself.
func (s *scene) stopGlobal(ctx context.Context) error {
	if err := s.stop(s.global.process); err != nil {
		return err
	}
	for _, at := range []*controlPlane{s.west, s.east} {
		if _, err := at.await(ctx, "stream from the global control plane ended"); err != nil {
			return err
		}
	}
	s.say("outage", "the global control plane is stopped")
	if err := s.runProxy(ctx, "dp-4", s.west, s.west); err != nil {
		return err
	}
	if _, err := s.proxies["dp-4"].await(ctx, "connected"); err != nil {
		return err
	}
	raw, err := os.ReadFile(s.path("dp-4.token"))
	if err != nil {
		return err
	}
	s.say("", "west issues a token for dp-4 with its own key, kid %s, and admits dp-4", keyID(strings.TrimSpace(string(raw))))
	if err := s.runProxy(ctx, "dp-5", s.east, s.west); err != nil {
		return err
	}
	if _, err := s.proxies["dp-5"].await(ctx, "stream ended", "code", "Unauthenticated"); err != nil {
		return err
	}
	if err := s.stop(s.proxies["dp-5"]); err != nil {
		return err
	}
	s.say("", "in east such a token is refused")
	return nil
}

// restartZone restarts a zone while the global control plane is down.
func (s *scene) restartZone(ctx context.Context) error {
	if err := s.stop(s.east.process); err != nil {
		return err
	}
	if _, err := s.proxies["dp-3"].await(ctx, "stream ended", "code", "Unavailable"); err != nil {
		return err
	}
	var err error
	if s.east, err = s.runZone(ctx, "east", s.east.address); err != nil {
		return err
	}
	if _, err := s.proxies["dp-3"].await(ctx, "connected"); err != nil {
		return err
	}
	s.say("", "east is restarted: it still knows the global's keys, and dp-3 is back with its token")
	return nil
}

// startGlobal starts the global control plane again, after a revocation that the zones do not
// know yet.
func (s *scene) startGlobal(ctx context.Context) error {
	id, err := s.tokenID("dp-4")
	if err != nil {
		return err
	}
	if err := dataplane.Revoke(ctx, s.store, mesh, id); err != nil {
		return err
	}
	if err := s.proxies["dp-4"].none("stream ended"); err != nil {
		return err
	}
	if s.global, err = s.runGlobal(ctx, s.global.address, authCPToken); err != nil {
		return err
	}
	if _, err := s.proxies["dp-4"].await(ctx, "stream ended", "code", "Unauthenticated"); err != nil {
		return err
	}
	if err := s.awaitMetric(ctx, s.global, `meshpass_sessions{kid="1",kind="zone",mesh=""} 2`); err != nil {
		return err
	}
	for _, name := range []string{"dp-1", "dp-2", "dp-3"} {
		if err := s.proxies[name].none("stream ended"); err != nil {
			return err
		}
	}
	s.say("", "dp-4's token is revoked on the global's store; when the global is started again, dp-4's stream ends")
	return nil
}

// showMetrics prints some of the metrics.
func (s *scene) showMetrics(ctx context.Context) error {
	for _, at := range []*controlPlane{s.global, s.west} {
		lines, err := s.ask.metrics(ctx, at.metrics)
		if err != nil {
			return err
		}
		s.say("metrics", "of %s:", at.name)
		for _, line := range lines {
			if shown.MatchString(line) {
				s.say("", "%s", line)
			}
		}
	}
	return nil
}

var shown = regexp.MustCompile(`^(controlplane_|meshpass_(sessions|staleness_seconds|validations_total|permit_refusals_total|key_validations_total))`)

// awaitMetric waits until a control plane exports a line.
func (s *scene) awaitMetric(ctx context.Context, at *controlPlane, want string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		lines, err := s.ask.metrics(ctx, at.metrics)
		if err == nil && slices.Contains(lines, want) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the metrics of %s lack %s: %w\n%s", at.name, want, errors.Join(ctx.Err(), err), strings.Join(lines, "\n"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cleanUp ends all processes and removes all files. After a failure it ignores errors of
// processes.
func (s *scene) cleanUp(failed bool) error {
	for _, p := range s.running {
		p.interrupt()
	}
	var errs []error
	for _, p := range s.running {
		errs = append(errs, p.wait())
	}
	if failed {
		errs = nil
	}
	return errors.Join(append(errs, os.RemoveAll(s.folder))...)
}

// keyID returns the kid of a token, or "".
func keyID(raw string) string {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return ""
	}
	header, err := unverified.Header()
	if err != nil {
		return ""
	}
	return header.KeyID
}
