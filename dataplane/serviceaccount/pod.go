package serviceaccount

import (
	"errors"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meshpass/meshpass/token"
)

// Pod describes a Pod: the Pod that connects, as the control plane knows it, or
// the Pod that a token is for.
type Pod struct {
	Namespace      string // metadata.namespace
	ServiceAccount string // spec.serviceAccountName
	Name           string // metadata.name
	UID            string // metadata.uid
	Node           string // spec.nodeName
}

// Permits reports whether a Pod may use the token: Namespace and ServiceAccount
// must be those of the token, and so must Name, UID and Node if the token has
// them. A token from a projected volume has Name and UID, and since Kubernetes
// 1.30 Node. An empty field of the Pod does not match.
//
// Take the Pod from the API server, not from the peer: with a token that is not
// bound to a Pod, any Pod of the account could claim to be another.
//
// The error matches token.ErrNotPermitted and names the difference.
func (t Verified) Permits(pod Pod) error {
	if t.review == nil {
		return fmt.Errorf("%w: the Verified is empty (was an error of Validate ignored?)", token.ErrNotPermitted)
	}
	of := t.review.pod
	for _, c := range [...]struct{ what, token, pod string }{
		{"namespace", of.Namespace, pod.Namespace},
		{"service account", of.ServiceAccount, pod.ServiceAccount},
		{"pod name", of.Name, pod.Name},
		{"pod UID", of.UID, pod.UID},
		{"node", of.Node, pod.Node},
	} {
		if c.token != "" && c.token != c.pod {
			return fmt.Errorf("%w: the token's %s is %.64q, the Pod's is %.64q", token.ErrNotPermitted, c.what, c.token, c.pod)
		}
	}
	return nil
}

// The names under which the API server says what a token is bound to.
// https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
)

// podOf returns the Pod that the API server's answer describes.
func podOf(user authenticationv1.UserInfo) (Pod, error) {
	var pod Pod
	var err error
	if pod.Namespace, pod.ServiceAccount, err = parseUsername(user.Username); err != nil {
		return Pod{}, err
	}
	for name, field := range map[string]*string{extraPodName: &pod.Name, extraPodUID: &pod.UID, extraNodeName: &pod.Node} {
		values, bound := user.Extra[name]
		if !bound {
			continue
		}
		// An empty value must not look like a token that is not bound.
		if len(values) != 1 || values[0] == "" {
			return Pod{}, fmt.Errorf("%s is %.64q, want one value", name, []string(values))
		}
		*field = values[0]
	}
	return pod, nil
}

const usernamePrefix = "system:serviceaccount:"

// parseUsername splits the name of a service account as a user,
// system:serviceaccount:NAMESPACE:NAME.
func parseUsername(username string) (namespace, name string, err error) {
	account, isAccount := strings.CutPrefix(username, usernamePrefix)
	namespace, name, both := strings.Cut(account, ":")
	if !isAccount || !both || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", "", errors.New("not a service account, want " + usernamePrefix + "NAMESPACE:NAME")
	}
	return namespace, name, nil
}
