package serviceaccount_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/dataplane/serviceaccount"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/token"
)

// oddServer answers as a real API server cannot be made to.
func oddServer(t *testing.T, answer func(w http.ResponseWriter, review *authentication.TokenReview)) authenticationv1.TokenReviewInterface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authentication.TokenReview
		if !assert.NoError(t, json.NewDecoder(r.Body).Decode(&review)) {
			return
		}
		assert.Equal(t, "/apis/authentication.k8s.io/v1/tokenreviews", r.URL.Path)
		assert.Equal(t, []string{audience}, review.Spec.Audiences)
		w.Header().Set("Content-Type", "application/json")
		answer(w, &review)
	}))
	t.Cleanup(server.Close)
	client, err := authenticationv1.NewForConfig(&rest.Config{Host: server.URL, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	require.NoError(t, err)
	return client.TokenReviews()
}

// says answers with a status.
func says(status authentication.TokenReviewStatus) func(http.ResponseWriter, *authentication.TokenReview) {
	return func(w http.ResponseWriter, review *authentication.TokenReview) {
		review.Status = status
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(review)
	}
}

// accepted is the status of a good token.
func accepted(changes ...func(*authentication.TokenReviewStatus)) authentication.TokenReviewStatus {
	status := authentication.TokenReviewStatus{
		Authenticated: true,
		Audiences:     []string{audience},
		User: authentication.UserInfo{
			Username: "system:serviceaccount:shop:backend",
			Extra: map[string]authentication.ExtraValue{
				"authentication.kubernetes.io/pod-name":  {"backend-0"},
				"authentication.kubernetes.io/pod-uid":   {"c0ffee00-0000-0000-0000-000000000000"},
				"authentication.kubernetes.io/node-name": {"node-1"},
			},
		},
	}
	for _, change := range changes {
		change(&status)
	}
	return status
}

func username(name string) func(*authentication.TokenReviewStatus) {
	return func(s *authentication.TokenReviewStatus) { s.User.Username = name }
}

func extra(name string, values ...string) func(*authentication.TokenReviewStatus) {
	return func(s *authentication.TokenReviewStatus) { s.User.Extra[name] = values }
}

func TestValidatorTakesAnAnswerThatNamesNoPodAsARefusal(t *testing.T) {
	v := newValidator(t, oddServer(t, says(accepted())))
	verified, err := v.Validate(t.Context(), unsigned(nil))
	require.NoError(t, err, "without a change it is good")
	require.NoError(t, verified.Permits(serviceaccount.Pod{Namespace: "shop", ServiceAccount: "backend",
		Name: "backend-0", UID: "c0ffee00-0000-0000-0000-000000000000", Node: "node-1"}))
	require.ErrorIs(t, verified.Permits(serviceaccount.Pod{Namespace: "shop", ServiceAccount: "backend"}), token.ErrNotPermitted)

	for name, status := range map[string]authentication.TokenReviewStatus{
		"no audience, as of a server that knows nothing of them": accepted(func(s *authentication.TokenReviewStatus) { s.Audiences = nil }),
		"another audience":      accepted(func(s *authentication.TokenReviewStatus) { s.Audiences = []string{"somebody.example.com"} }),
		"not authenticated":     accepted(func(s *authentication.TokenReviewStatus) { s.Authenticated = false }),
		"nothing":               {},
		"no user":               accepted(username("")),
		"a human":               accepted(username("jane")),
		"a node":                accepted(username("system:node:node-1")),
		"no prefix":             accepted(username("shop:backend")),
		"no name":               accepted(username("system:serviceaccount:shop:")),
		"no namespace":          accepted(username("system:serviceaccount::backend")),
		"a part too few":        accepted(username("system:serviceaccount:backend")),
		"a part too many":       accepted(username("system:serviceaccount:shop:backend:admin")),
		"capitals":              accepted(username("system:serviceaccount:Shop:backend")),
		"another prefix":        accepted(username("oidc:system:serviceaccount:shop:backend")),
		"a slash":               accepted(username("system:serviceaccount:shop:../backend")),
		"a line break":          accepted(username("system:serviceaccount:shop:backend\n")),
		"a long name":           accepted(username("system:serviceaccount:shop:" + strings.Repeat("a", 254))),
		"a dot in a namespace":  accepted(username("system:serviceaccount:shop.other:backend")),
		"two pods":              accepted(extra("authentication.kubernetes.io/pod-name", "backend-0", "backend-1")),
		"a pod of no name":      accepted(extra("authentication.kubernetes.io/pod-name", "")),
		"a pod with no value":   accepted(extra("authentication.kubernetes.io/pod-name")),
		"two pod UIDs":          accepted(extra("authentication.kubernetes.io/pod-uid", "1", "2")),
		"a node with no name":   accepted(extra("authentication.kubernetes.io/node-name", "")),
		"two nodes":             accepted(extra("authentication.kubernetes.io/node-name", "node-1", "node-1")),
		"authenticated as none": {Authenticated: true, Audiences: []string{audience}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newValidator(t, oddServer(t, says(status)))
			verified, err := v.Validate(t.Context(), unsigned(nil))
			require.ErrorIs(t, err, token.ErrInvalid)
			require.NotErrorIs(t, err, token.ErrUnavailable)
			require.Zero(t, verified)
		})
	}
}

func TestValidatorNeverTakesAnErrorOfTheAPIServerAsARefusalNorRemembersIt(t *testing.T) {
	for name, fail := range map[string]func(w http.ResponseWriter, r *authentication.TokenReview){
		"400": code(http.StatusBadRequest),
		"401": code(http.StatusUnauthorized), // the control plane's own credentials
		"403": code(http.StatusForbidden),
		"404": code(http.StatusNotFound),
		"409": code(http.StatusConflict),
		"422": code(http.StatusUnprocessableEntity),
		"429": code(http.StatusTooManyRequests),
		"500": code(http.StatusInternalServerError),
		"503": code(http.StatusServiceUnavailable),
		"504": code(http.StatusGatewayTimeout),
		"a page": func(w http.ResponseWriter, _ *authentication.TokenReview) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>login</html>"))
		},
		"half an answer": func(w http.ResponseWriter, _ *authentication.TokenReview) {
			_, _ = w.Write([]byte(`{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": {"authenticated": tr`))
		},
		"an aborted connection": func(http.ResponseWriter, *authentication.TokenReview) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			var well atomic.Bool
			var log logtest.Buffer
			v := newValidator(t, oddServer(t, func(w http.ResponseWriter, r *authentication.TokenReview) {
				if well.Load() {
					says(accepted())(w, r)
					return
				}
				fail(w, r)
			}), serviceaccount.WithLogger(log.Logger()))
			raw := unsigned(nil)
			_, err := v.Validate(t.Context(), raw)
			require.ErrorIs(t, err, token.ErrUnavailable)
			require.NotErrorIs(t, err, token.ErrInvalid)
			require.Equal(t, 1, log.Count("level=WARN", "token could not be checked", "account=shop:backend", "jti=c4b6f1a0"), log.Last())

			well.Store(true)
			_, err = v.Validate(t.Context(), raw)
			require.NoError(t, err, "the next time it is asked again")
		})
	}
}

// code answers with an HTTP status.
func code(status int) func(http.ResponseWriter, *authentication.TokenReview) {
	return func(w http.ResponseWriter, _ *authentication.TokenReview) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(apierrors.NewGenericServerResponse(status, "create",
			authentication.Resource("tokenreviews"), "", "for the test", 0, true).ErrStatus)
	}
}

func TestValidatorWaitsFiveSecondsAtMostForAServerThatAsksToComeBackLater(t *testing.T) {
	v := newValidator(t, oddServer(t, func(w http.ResponseWriter, r *authentication.TokenReview) {
		w.Header().Set("Retry-After", "3600")
		code(http.StatusTooManyRequests)(w, r)
	}))
	began := time.Now()
	_, err := v.Validate(t.Context(), unsigned(nil))
	require.ErrorIs(t, err, token.ErrUnavailable)
	require.Less(t, time.Since(began), 50*time.Second)
}

func TestValidatorEscapesAndShortensWhatTheAPIServerSays(t *testing.T) {
	raw := forge.Token(`{}`, payload(map[string]any{"iss": nil, "jti": nil}), forge.Signature([]byte("a short signature")))
	_, _, signature := parts(raw)
	echo := "line\nbreak \x1b[31m " + raw + " " + signature + strings.Repeat(" and so on", 1000)
	for name, answer := range map[string]func(http.ResponseWriter, *authentication.TokenReview){
		"a refusal": says(authentication.TokenReviewStatus{Error: echo}),
		"an error": func(w http.ResponseWriter, r *authentication.TokenReview) {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(apierrors.NewBadRequest(echo).ErrStatus)
		},
		"a long user": says(accepted(username(strings.Repeat("u", 100_000) + "\n"))),
		"many audiences": says(accepted(func(s *authentication.TokenReviewStatus) {
			s.Audiences = strings.Split(strings.Repeat("x\n"+strings.Repeat("y", 1000)+",", 1000), ",")
		})),
	} {
		t.Run(name, func(t *testing.T) {
			var log logtest.Buffer
			v := newValidator(t, oddServer(t, answer), serviceaccount.WithLogger(log.Logger()))
			_, err := v.Validate(t.Context(), raw)
			require.Error(t, err)
			for _, text := range []string{err.Error(), strings.TrimSuffix(log.String(), "\n")} {
				require.NotContains(t, text, signature, "nor, with it, the token")
				require.NotContains(t, text, "\n")
				require.NotContains(t, text, "\x1b")
				require.Less(t, len(text), 2000)
			}
		})
	}
}

func TestValidatorLetsAContextEndItsCallersWaitAndNotTheReview(t *testing.T) {
	reached, answer := make(chan struct{}), make(chan struct{})
	v := newValidator(t, oddServer(t, func(w http.ResponseWriter, r *authentication.TokenReview) {
		close(reached)
		<-answer
		says(accepted())(w, r)
	}))
	raw := unsigned(nil)
	ctx, cancel := newCause(t)
	impatient := make(chan error)
	go func() {
		_, err := v.Validate(ctx, raw)
		impatient <- err
	}()
	<-reached
	patient := make(chan error)
	go func() {
		_, err := v.Validate(t.Context(), raw)
		patient <- err
	}()
	gone := errors.New("the peer has gone")
	cancel(gone)
	err := <-impatient
	require.ErrorIs(t, err, token.ErrUnavailable)
	require.ErrorIs(t, err, gone)
	close(answer)
	require.NoError(t, <-patient)
}
