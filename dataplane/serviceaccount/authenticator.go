package serviceaccount

import (
	"context"
	"errors"

	"github.com/meshpass/meshpass/dataplane"
)

// NewAuthenticator returns an authenticator for servers that take service account
// tokens instead of dataplane tokens. podOf looks up the Pod that runs a proxy, as
// the control plane knows it. Its error must match token.ErrNotPermitted if there is
// no such Pod, and token.ErrUnavailable if the lookup failed. The session calls podOf
// for each request that describes the proxy, possibly concurrently; podOf should
// answer from memory, such as that of an informer.
//
// The error is about the arguments. The caller closes the validator.
func NewAuthenticator(validator *Validator, podOf func(dataplane.Proxy) (Pod, error)) (dataplane.Authenticator, error) {
	if validator == nil {
		return nil, errors.New("serviceaccount: NewAuthenticator: the validator is nil")
	}
	if podOf == nil {
		return nil, errors.New("serviceaccount: NewAuthenticator: the function that looks up Pods is nil")
	}
	return authenticator{validator, podOf}, nil
}

type authenticator struct {
	validator *Validator
	podOf     func(dataplane.Proxy) (Pod, error)
}

func (a authenticator) Authenticate(ctx context.Context, credential string) (dataplane.Session, error) {
	verified, err := a.validator.Validate(ctx, credential)
	if err != nil {
		return nil, err
	}
	return proxySession{verified, a.podOf}, nil
}

// proxySession checks a token against proxies instead of Pods.
type proxySession struct {
	Verified
	podOf func(dataplane.Proxy) (Pod, error)
}

func (s proxySession) Permits(proxy dataplane.Proxy) error {
	pod, err := s.podOf(proxy)
	if err != nil {
		return err
	}
	return s.Verified.Permits(pod)
}
