package kubernetes_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedadmissionv1 "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"

	"github.com/meshpass/meshpass/internal/test/kumareader"
	"github.com/meshpass/meshpass/keystore"
)

// The types and the label of Kuma's Secrets, which Kuma selects them by.
const (
	kumaSecretType       = "system.kuma.io/secret"
	kumaGlobalSecretType = "system.kuma.io/global-secret"
)

// readAsKuma returns the Secrets of a namespace that Kuma sees.
func (n *namespace) readAsKuma(ctx context.Context) (kumareader.Secrets, error) {
	list, err := n.secrets.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var secrets kumareader.Secrets
	for _, s := range list.Items {
		mesh := s.Labels["kuma.io/mesh"]
		switch {
		case s.Type == kumaGlobalSecretType:
			mesh = ""
		case s.Type != kumaSecretType:
			continue
		case mesh == "":
			mesh = "default"
		}
		secrets = append(secrets, kumareader.Secret{Mesh: mesh, Name: s.Name, Data: s.Data["value"]})
	}
	return secrets, nil
}

// writeAsKuma creates a Secret as Kuma does, or replaces its value.
func (n *namespace) writeAsKuma(ctx context.Context, s kumareader.Secret) error {
	old, err := n.secrets.Get(ctx, s.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.Name}, Type: kumaGlobalSecretType, Data: map[string][]byte{"value": s.Data}}
		if s.Mesh != "" {
			secret.Type, secret.Labels = kumaSecretType, map[string]string{"kuma.io/mesh": s.Mesh}
		}
		_, err = n.secrets.Create(ctx, secret, metav1.CreateOptions{})
		return err
	}
	if err == nil {
		old.Data["value"] = s.Data
		_, err = n.secrets.Update(ctx, old, metav1.UpdateOptions{})
	}
	return err
}

// guard refuses what Kuma's webhook refuses in the namespace: a Secret without a value, and
// a global one with the label of a mesh.
func (n *namespace) guard(t *testing.T) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			metav1.TypeMeta `json:",inline"`
			Request         struct {
				UID    string        `json:"uid"`
				Object corev1.Secret `json:"object"`
			} `json:"request"`
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		secret, problem := review.Request.Object, ""
		if _, labelled := secret.Labels["kuma.io/mesh"]; labelled && secret.Type == kumaGlobalSecretType {
			problem = `metadata.labels["kuma.io/mesh"]: mesh cannot be set on global secret`
		}
		if len(secret.Data["value"]) == 0 {
			problem = "data.value: cannot be empty."
		}
		response := map[string]any{"uid": review.Request.UID, "allowed": problem == ""}
		if problem != "" {
			response["status"] = metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity, Message: problem}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": review.APIVersion, "kind": review.Kind, "response": response})
	}))
	t.Cleanup(server.Close)

	client, err := typedadmissionv1.NewForConfig(n.admin)
	require.NoError(t, err)
	fail, none, url := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, server.URL+"/validate-v1-secret"
	webhook := admissionregistrationv1.ValidatingWebhook{
		Name: "secret.validator.kuma-admission.kuma.io",
		ClientConfig: admissionregistrationv1.WebhookClientConfig{
			URL:      &url,
			CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
		}},
		FailurePolicy:           &fail,
		NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": n.name}},
		SideEffects:             &none,
		AdmissionReviewVersions: []string{"v1"},
	}
	webhooks := client.ValidatingWebhookConfigurations()
	_, err = webhooks.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: n.name}, Webhooks: []admissionregistrationv1.ValidatingWebhook{webhook},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = webhooks.Delete(context.Background(), n.name, metav1.DeleteOptions{}) })

	// The API server learns of a webhook by a watch.
	require.Eventually(t, func() bool {
		_, err := n.secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}, Type: kumaSecretType}, metav1.CreateOptions{})
		return apierrors.IsInvalid(err)
	}, patience, tick)
}

func TestSecretsAreThoseThatKumaReads(t *testing.T) {
	n := theCluster(t).newNamespace(t)
	kumareader.Beside(t, kumareader.Shared{Store: n.open(t), Read: n.readAsKuma, Write: n.writeAsKuma, Flat: true})
}

func TestSecretsAreThoseThatKumaReadsAndItsWebhookLetsPass(t *testing.T) {
	n := theCluster(t).newNamespace(t)
	n.guard(t)
	store := n.open(t)
	record := keystore.Record{Scope: "default", Name: "dataplane-token-revocations-default"}
	_, err := store.Create(t.Context(), record)
	require.ErrorIs(t, err, keystore.ErrEmpty)
	record.Data = []byte("some-id")
	record, err = store.Create(t.Context(), record)
	require.NoError(t, err)
	record.Data = nil
	_, err = store.Update(t.Context(), record)
	require.ErrorIs(t, err, keystore.ErrEmpty)

	kumareader.Beside(t, kumareader.Shared{Store: store, Read: n.readAsKuma, Write: n.writeAsKuma, Flat: true})
}
