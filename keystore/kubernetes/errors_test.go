package kubernetes_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/keystore"
)

var secrets = schema.GroupResource{Resource: "secrets"}

func forbidden(text string) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: text}}
}

// statusOf returns what the API server sends for an error.
func statusOf(err *apierrors.StatusError) metav1.Status {
	err.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return err.ErrStatus
}

// Only authorization says that the user shall not write. Whatever else the API server
// refuses may pass, and says nothing about the record.
func TestRefusedWritesAreErrReadOnlyOnlyIfTheUserShallNotWrite(t *testing.T) {
	secret := kumaSecret("default", "key")
	secret.Name, secret.ResourceVersion, secret.UID = "key-1", "1", "uid"
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	for name, c := range map[string]struct {
		answer   *apierrors.StatusError
		readOnly bool
	}{
		"no right": {answer: forbidden(`secrets is forbidden: User "u" cannot create resource "secrets" in API group "" in the namespace "n"; ` +
			`cannot update resource "secrets"; cannot delete resource "secrets"`), readOnly: true},
		"quota":                 {answer: forbidden(`secrets "key-1" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=5, limited: secrets=5`)},
		"webhook":               {answer: forbidden(`admission webhook "validator.kuma-admission.kuma.io" denied the request: no`)},
		"namespace terminating": {answer: forbidden(`secrets "key-1" is forbidden: unable to create new content in namespace n because it is being terminated`)},
		"unauthorized":          {answer: apierrors.NewUnauthorized("the token has expired")},
		"too many requests":     {answer: apierrors.NewTooManyRequestsError("slow down")},
		"etcd without majority": {answer: apierrors.NewInternalError(context.DeadlineExceeded)},
		"etcd times out":        {answer: apierrors.NewTimeoutError("etcdserver: request timed out", 0)},
		"unavailable":           {answer: apierrors.NewServiceUnavailable("the server is shutting down")},
		"no leader":             {answer: apierrors.NewGenericServerResponse(500, "put", secrets, "key-1", "etcdserver: leader changed", 0, true)},
		"another conflict":      {answer: apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "q", context.DeadlineExceeded)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.Method == http.MethodGet {
					json.NewEncoder(w).Encode(secret)
					return
				}
				w.WriteHeader(int(c.answer.ErrStatus.Code))
				json.NewEncoder(w).Encode(statusOf(c.answer))
			}))
			defer server.Close()
			store := newStore(t, &rest.Config{Host: server.URL, QPS: -1}, "n")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			record := keystore.Record{Scope: "default", Name: "key-1", Version: "1"}
			_, create := store.Create(ctx, record)
			_, update := store.Update(ctx, record)
			for what, err := range map[string]error{"Create": create, "Update": update, "Delete": store.Delete(ctx, "default", "key-1")} {
				require.Error(t, err, what)
				if c.readOnly {
					require.ErrorIs(t, err, keystore.ErrReadOnly, what)
				} else {
					require.False(t, isContract(err), "%s: %v", what, err)
				}
			}
			require.NoError(t, ctx.Err(), "a store does not go on asking")
		})
	}
}

// A webhook, or an API server behind another one, may say that a name is taken which is
// free.
func TestCreateDoesNotAskForEverForANameThatIsTakenAndFree(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := apierrors.NewNotFound(secrets, "key-1")
		if r.Method == http.MethodPost {
			answer = apierrors.NewAlreadyExists(secrets, "key-1")
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(answer.ErrStatus.Code))
		json.NewEncoder(w).Encode(statusOf(answer))
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := newStore(t, &rest.Config{Host: server.URL, QPS: -1}, "n").Create(ctx, keystore.Record{Scope: "default", Name: "key-1"})
	require.Error(t, err)
	require.False(t, isContract(err), "%v", err)
	require.NoError(t, ctx.Err())
}

// While etcd stands still the API server answers neither reads nor writes. All of them end
// with their contexts, and work when etcd goes on.
func TestStoreOnAnAPIServerWhoseEtcdStandsStill(t *testing.T) {
	c := theCluster(t)
	n := c.newNamespace(t)
	store := n.open(t)
	r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("key")})
	require.NoError(t, err)
	c.PauseEtcd(t)
	defer c.ResumeEtcd(t)
	for what, call := range map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := store.Get(ctx, "default", "key-1"); return err },
		"List":   func(ctx context.Context) error { _, err := store.List(ctx, "default", ""); return err },
		"Update": func(ctx context.Context) error { _, err := store.Update(ctx, r); return err },
		"Create": func(ctx context.Context) error {
			_, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "key-2"})
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		err := call(ctx)
		cancel()
		require.Error(t, err, what)
		require.False(t, isContract(err), "%s: %v", what, err)
	}
	c.ResumeEtcd(t)
	require.Eventually(t, func() bool {
		_, err := store.List(t.Context(), "default", "")
		return err == nil
	}, patience, tick)
}
