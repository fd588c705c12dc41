package serviceaccount_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/dataplane/serviceaccount"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// One API server for all of these, since each takes seconds to start.
func TestValidatorOnARealAPIServer(t *testing.T) {
	c := newCluster(t)
	t.Run("the manifests of the README are enough", c.testTheManifestsOfTheREADMEAreEnough)
	t.Run("a token is for its pod alone", c.testATokenIsForItsPodAlone)
	t.Run("an unbound token is for all pods of its account", c.testAnUnboundTokenIsForAllPodsOfItsAccount)
	t.Run("what is not good is refused, and costs at most one review", c.testWhatIsNotGoodIsRefused)
	t.Run("a good token is served during a flood of bad ones", c.testAGoodTokenIsServedDuringAFlood)
	t.Run("a session ends when the validator's clock passes exp", c.testASessionEndsWithItsToken)
	t.Run("deletion", func(t *testing.T) {
		t.Run("a token ends with its pod", c.testATokenEndsWithItsPod)
		t.Run("a token ends with its account", c.testATokenEndsWithItsAccount)
	})
}

// The control plane is an account with the README's rights, the proxy a Pod with the
// README's volume, whose token is requested as the kubelet does.
func (c *cluster) testTheManifestsOfTheREADMEAreEnough(t *testing.T) {
	binding := manifest[rbac.ClusterRoleBinding](t, "ClusterRoleBinding")
	controlPlane := binding.Subjects[0]
	template := manifest[core.Pod](t, "Pod")
	for namespace, account := range map[string]string{controlPlane.Namespace: controlPlane.Name, template.Namespace: template.Spec.ServiceAccountName} {
		_, err := c.core.Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}, meta.CreateOptions{})
		require.NoError(t, err)
		c.account(t, namespace, account)
	}
	pod, err := c.core.Pods(template.Namespace).Create(t.Context(), template, meta.CreateOptions{})
	require.NoError(t, err)
	source := pod.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken
	raw, _ := c.token(t, pod.Namespace, pod.Spec.ServiceAccountName, pod, source.Audience)

	credentials, _ := c.token(t, controlPlane.Namespace, controlPlane.Name, nil)
	var log logtest.Buffer
	v := newValidator(t, c.reviews(t, &rest.Config{Host: c.URL, QPS: -1, BearerToken: credentials,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.CA}}), serviceaccount.WithLogger(log.Logger()))

	_, err = v.Validate(t.Context(), raw)
	require.ErrorIs(t, err, token.ErrUnavailable, "the control plane has no rights yet")
	require.NotErrorIs(t, err, token.ErrInvalid)
	require.Equal(t, 1, log.Count("level=WARN", "token could not be checked", controlPlane.Name,
		`cannot create resource \"tokenreviews\" in API group \"authentication.k8s.io\"`), log.Last())

	_, err = c.rbac.ClusterRoles().Create(t.Context(), manifest[rbac.ClusterRole](t, "ClusterRole"), meta.CreateOptions{})
	require.NoError(t, err)
	_, err = c.rbac.ClusterRoleBindings().Create(t.Context(), binding, meta.CreateOptions{})
	require.NoError(t, err)
	require.EventuallyWithT(t, func(now *assert.CollectT) {
		verified, err := v.Validate(t.Context(), raw)
		require.NoError(now, err)
		assert.NoError(now, verified.Permits(podOf(pod)))
	}, time.Minute, 100*time.Millisecond)
	require.Zero(t, log.Count(raw))
}

func (c *cluster) testATokenIsForItsPodAlone(t *testing.T) {
	namespace := c.namespace(t, "backend", "other")
	pod := c.pod(t, namespace, "backend", "backend-0")
	raw, expires := c.token(t, namespace, "backend", pod, "somebody.example.com", audience)
	v := newValidator(t, c.reviews(t, c.admin()))
	verified, err := v.Validate(t.Context(), raw)
	require.NoError(t, err)

	require.Equal(t, podOf(pod), verified.Pod())
	require.Equal(t, []string{audience}, verified.Audiences())
	require.Equal(t, expires.UTC(), verified.ExpiresAt())
	require.NotEmpty(t, verified.ID())
	require.NoError(t, verified.Permits(podOf(pod)))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", verified, verified, verified, verified.LogValue()), raw)

	for difference, change := range map[string]func(*serviceaccount.Pod){
		"namespace":       func(p *serviceaccount.Pod) { p.Namespace = "default" },
		"service account": func(p *serviceaccount.Pod) { p.ServiceAccount = "other" },
		"pod name":        func(p *serviceaccount.Pod) { p.Name = "backend-1" },
		"pod UID":         func(p *serviceaccount.Pod) { p.UID = "7e3c9f2a-1111-2222-3333-444444444444" },
		"node":            func(p *serviceaccount.Pod) { p.Node = "node-2" },
	} {
		other := podOf(pod)
		change(&other)
		err := verified.Permits(other)
		require.ErrorIs(t, err, token.ErrNotPermitted)
		require.ErrorContains(t, err, difference)
		require.NotErrorIs(t, err, token.ErrInvalid)
	}
	for _, less := range []serviceaccount.Pod{
		{},
		{Namespace: namespace, ServiceAccount: "backend"},
		{Namespace: namespace, ServiceAccount: "backend", Name: pod.Name},
		{Namespace: namespace, ServiceAccount: "backend", Name: pod.Name, UID: string(pod.UID)},
	} {
		require.ErrorIs(t, verified.Permits(less), token.ErrNotPermitted, "what the token has must not be left out")
	}
}

func (c *cluster) testAnUnboundTokenIsForAllPodsOfItsAccount(t *testing.T) {
	namespace := c.namespace(t, "backend")
	raw, _ := c.token(t, namespace, "backend", nil, audience)
	v := newValidator(t, c.reviews(t, c.admin()))
	verified, err := v.Validate(t.Context(), raw)
	require.NoError(t, err)
	require.Equal(t, serviceaccount.Pod{Namespace: namespace, ServiceAccount: "backend"}, verified.Pod())
	require.NoError(t, verified.Permits(serviceaccount.Pod{Namespace: namespace, ServiceAccount: "backend", Name: "any", UID: "any", Node: "any"}))
	require.ErrorIs(t, verified.Permits(serviceaccount.Pod{Namespace: namespace, ServiceAccount: "other", Name: "any"}), token.ErrNotPermitted)
}

func (c *cluster) testWhatIsNotGoodIsRefused(t *testing.T) {
	namespace := c.namespace(t, "backend", "other")
	pod := c.pod(t, namespace, "backend", "backend-0")
	good, _ := c.token(t, namespace, "backend", pod, audience)
	other, _ := c.token(t, namespace, "other", nil, audience)
	forSomebody, _ := c.token(t, namespace, "backend", pod, "somebody.example.com")
	forTheAPIServer, _ := c.token(t, namespace, "backend", pod)

	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(store)
	require.NoError(t, err)
	ofOurs, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)

	header, claims, signature := parts(good)
	_, claimsOfOther, _ := parts(other)

	for name, refused := range map[string]struct {
		raw     string
		want    error
		reviews int64
	}{
		"empty":                          {"", token.ErrMalformed, 0},
		"garbage":                        {"let me in", token.ErrMalformed, 0},
		"1 MB":                           {strings.Repeat("A", 1<<20), token.ErrMalformed, 0},
		"1 MB of a token":                {good + strings.Repeat("A", 1<<20), token.ErrMalformed, 0},
		"white space":                    {good + "\n", token.ErrMalformed, 0},
		"a dataplane token":              {ofOurs.Token, token.ErrClaims, 0},
		"for another audience":           {forSomebody, token.ErrClaims, 0},
		"for the API server":             {forTheAPIServer, token.ErrClaims, 0},
		"expired":                        {unsigned(map[string]any{"exp": time.Now().Add(-time.Second).Unix()}), token.ErrExpired, 0},
		"signed by nobody":               {unsigned(nil), token.ErrInvalid, 1},
		"another account's claims":       {header + "." + claimsOfOther + "." + signature, token.ErrInvalid, 1},
		"a changed signature":            {header + "." + claims + "." + flip(signature), token.ErrInvalid, 1},
		"signed with a key of one's own": {forge.Token(`{"alg":"RS256","kid":"1"}`, payload(nil), forge.RS256(forge.Key())), token.ErrInvalid, 1},
		"without a signature, alg none":  {forge.Token(`{"alg":"none"}`, payload(nil), forge.Signature([]byte("x"))), token.ErrInvalid, 1},
		"claims that are no longer those of good": {header + "." + forge.Encode(payload(nil)) + "." + signature, token.ErrInvalid, 1},
	} {
		t.Run(name, func(t *testing.T) {
			reviews := c.reviews(t, c.admin())
			var log logtest.Buffer
			v := newValidator(t, reviews, serviceaccount.WithLogger(log.Logger()))
			for range 3 {
				verified, err := v.Validate(t.Context(), refused.raw)
				require.ErrorIs(t, err, refused.want)
				require.ErrorIs(t, err, token.ErrInvalid)
				require.NotErrorIs(t, err, token.ErrUnavailable)
				require.Zero(t, verified)
				if refused.raw != "" {
					require.NotContains(t, err.Error(), refused.raw)
					require.Zero(t, log.Count(refused.raw))
				}
				require.Less(t, len(err.Error()), 2000)
			}
			require.Equal(t, 3, log.Count("level=INFO", "token refused"))
			require.Equal(t, refused.reviews, reviews.n.Load())

			verified, err := v.Validate(t.Context(), good)
			require.NoError(t, err, "the good one beside it")
			require.NoError(t, verified.Permits(podOf(pod)))
		})
	}
	t.Run("for an audience that another validator has", func(t *testing.T) {
		v, err := serviceaccount.NewValidator(c.reviews(t, c.admin()), []string{audience, "somebody.example.com"})
		require.NoError(t, err)
		defer v.Close()
		verified, err := v.Validate(t.Context(), forSomebody)
		require.NoError(t, err)
		require.Equal(t, []string{"somebody.example.com"}, verified.Audiences())
	})
}

func (c *cluster) testAGoodTokenIsServedDuringAFlood(t *testing.T) {
	namespace := c.namespace(t, "backend")
	good, _ := c.token(t, namespace, "backend", c.pod(t, namespace, "backend", "backend-0"), audience)
	reviews := c.reviews(t, c.admin())
	const limit = 20
	var log logtest.Buffer
	v := newValidator(t, reviews, serviceaccount.WithReviewLimit(limit), serviceaccount.WithCacheTTL(0), serviceaccount.WithLogger(log.Logger()))
	_, err := v.Validate(t.Context(), good)
	require.NoError(t, err)

	began := time.Now()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var peers sync.WaitGroup
	for range 4 {
		peers.Go(func() {
			for ctx.Err() == nil {
				_, err := v.Validate(t.Context(), unsigned(map[string]any{"jti": rand.Text()}))
				if !assert.Error(t, err) {
					return
				}
			}
		})
	}
	served := 0
	for ; ctx.Err() == nil; served++ {
		_, err := v.Validate(t.Context(), good)
		require.NoError(t, err)
		time.Sleep(time.Second / limit) // each is a review: stay within the limit
	}
	peers.Wait()
	took := time.Since(began)
	asked := reviews.n.Load() - 1 - int64(served)
	t.Logf("%d reviews of bad tokens in %v, and %d of the good one", asked, took, served)
	require.Positive(t, served)
	require.LessOrEqual(t, asked, int64(limit+limit*took.Seconds()), "a burst, and then so many a second")
	require.Less(t, log.Count(""), 100, "the log is limited")
	require.NotZero(t, log.Count("token could not be checked", "left_out="))
}

func (c *cluster) testASessionEndsWithItsToken(t *testing.T) {
	namespace := c.namespace(t, "backend")
	raw, expires := c.token(t, namespace, "backend", nil, audience)
	now := newClock(expires.Add(-time.Second))
	reviews := c.reviews(t, c.admin())
	v := newValidator(t, reviews, serviceaccount.WithClock(now.get))
	verified, err := v.Validate(t.Context(), raw)
	require.NoError(t, err)
	ctx, stop := verified.Bind(t.Context())
	defer stop()
	require.NoError(t, ctx.Err())
	select {
	case <-ctx.Done():
		require.ErrorIs(t, context.Cause(ctx), token.ErrExpired)
	case <-time.After(time.Minute):
		require.Fail(t, "the session did not end")
	}
	_, err = v.Validate(t.Context(), raw)
	require.NoError(t, err, "the clock stands still: the cache has it")

	now.set(expires)
	_, err = v.Validate(t.Context(), raw)
	require.ErrorIs(t, err, token.ErrExpired, "no answer outlives exp")
	require.EqualValues(t, 1, reviews.n.Load())
	late, stop := verified.Bind(t.Context())
	defer stop()
	require.ErrorIs(t, context.Cause(late), token.ErrExpired)
}

func (c *cluster) testATokenEndsWithItsPod(t *testing.T) {
	t.Parallel()
	namespace := c.namespace(t, "backend")
	pod := c.pod(t, namespace, "backend", "backend-0")
	raw, _ := c.token(t, namespace, "backend", pod, audience)
	v := newValidator(t, c.reviews(t, c.admin()), serviceaccount.WithCacheTTL(time.Second))
	_, err := v.Validate(t.Context(), raw)
	require.NoError(t, err)

	at := int64(0)
	require.NoError(t, c.core.Pods(namespace).Delete(t.Context(), pod.Name, meta.DeleteOptions{GracePeriodSeconds: &at}))
	c.refusedSoon(t, v, raw)
	again := c.pod(t, namespace, "backend", pod.Name)
	require.NotEqual(t, pod.UID, again.UID)
	fresh := newValidator(t, c.reviews(t, c.admin()))
	_, err = fresh.Validate(t.Context(), raw)
	require.ErrorIs(t, err, token.ErrInvalid, "another pod of that name")
}

func (c *cluster) testATokenEndsWithItsAccount(t *testing.T) {
	t.Parallel()
	namespace := c.namespace(t, "backend")
	raw, _ := c.token(t, namespace, "backend", nil, audience)
	v := newValidator(t, c.reviews(t, c.admin()), serviceaccount.WithCacheTTL(time.Second))
	_, err := v.Validate(t.Context(), raw)
	require.NoError(t, err)

	require.NoError(t, c.core.ServiceAccounts(namespace).Delete(t.Context(), "backend", meta.DeleteOptions{}))
	c.refusedSoon(t, v, raw)
	c.account(t, namespace, "backend")
	fresh := newValidator(t, c.reviews(t, c.admin()))
	_, err = fresh.Validate(t.Context(), raw)
	require.ErrorIs(t, err, token.ErrInvalid, "another account of that name")
}

// refusedSoon waits until the API server has forgotten its own positive answer.
func (c *cluster) refusedSoon(t *testing.T, v *serviceaccount.Validator, raw string) {
	t.Helper()
	began := time.Now()
	require.EventuallyWithT(t, func(now *assert.CollectT) {
		_, err := v.Validate(t.Context(), raw)
		assert.ErrorIs(now, err, token.ErrInvalid)
	}, time.Minute, 200*time.Millisecond)
	t.Logf("refused after %v", time.Since(began))
}

func TestValidatorRefusesNoTokenWhileTheAPIServerIsDownAndServesAgainWhenItIsBack(t *testing.T) {
	c := newCluster(t)
	namespace := c.namespace(t, "backend")
	raw, _ := c.token(t, namespace, "backend", c.pod(t, namespace, "backend", "backend-0"), audience)
	fresh, _ := c.token(t, namespace, "backend", nil, audience)
	var log logtest.Buffer
	v := newValidator(t, c.reviews(t, c.admin()), serviceaccount.WithCacheTTL(0), serviceaccount.WithLogger(log.Logger()))
	verified, err := v.Validate(t.Context(), raw)
	require.NoError(t, err)
	session, stop := verified.Bind(t.Context())
	defer stop()

	c.Kill(t)
	for _, raw := range []string{raw, fresh, unsigned(nil)} {
		_, err := v.Validate(t.Context(), raw)
		require.ErrorIs(t, err, token.ErrUnavailable)
		require.NotErrorIs(t, err, token.ErrInvalid)
		require.NotContains(t, err.Error(), raw)
	}
	require.Equal(t, 3, log.Count("level=WARN", "token could not be checked"), log.Last())
	_, err = v.Validate(t.Context(), "garbage")
	require.ErrorIs(t, err, token.ErrInvalid, "that needs no API server")
	require.NoError(t, session.Err(), "an outage ends no session")

	c.Start(t)
	for _, raw := range []string{raw, fresh} {
		require.EventuallyWithT(t, func(now *assert.CollectT) {
			_, err := v.Validate(t.Context(), raw)
			assert.NoError(now, err)
		}, time.Minute, 100*time.Millisecond)
	}
	_, err = v.Validate(t.Context(), unsigned(nil))
	require.ErrorIs(t, err, token.ErrInvalid)
	require.NoError(t, session.Err())
}

// payload returns claims that look right, with changes.
func payload(changes map[string]any) string {
	claims := map[string]any{
		"iss": "https://kubernetes.default.svc",
		"sub": "system:serviceaccount:shop:backend",
		"aud": []string{audience},
		"exp": time.Now().Add(time.Hour).Unix(),
		"jti": "c4b6f1a0-8f0a-4b3f-9d3f-2f6f1c1b7a10",
	}
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// unsigned returns a token that looks right and that nobody has signed.
func unsigned(changes map[string]any) string {
	return forge.Token(`{"alg":"RS256","kid":"1"}`, payload(changes), forge.Signature(make([]byte, 256)))
}

func parts(raw string) (header, payload, signature string) {
	p := strings.Split(raw, ".")
	return p[0], p[1], p[2]
}

// flip changes the first character.
func flip(text string) string {
	if text[0] == 'A' {
		return "B" + text[1:]
	}
	return "A" + text[1:]
}

// clock is a wall clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock(now time.Time) *clock { return &clock{now: now} }

func (c *clock) get() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) set(now time.Time) { c.mu.Lock(); defer c.mu.Unlock(); c.now = now }
