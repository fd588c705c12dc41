// Package serviceaccount authenticates data plane proxies on Kubernetes by the
// tokens of their ServiceAccounts instead of dataplane tokens. You issue no tokens:
// the kubelet gives each Pod a token, and replaces it before it expires.
//
// A [Validator] asks the API server about a token (TokenReview,
// authentication.k8s.io/v1) and returns a [Verified]. [Verified.Permits] then
// compares it with the [Pod] that connects.
//
//	config, err := rest.InClusterConfig()
//	config.QPS = -1 // the validator limits its rate itself
//	client, err := authenticationv1.NewForConfig(config) // k8s.io/client-go/kubernetes/typed/authentication/v1
//
//	validator, err := serviceaccount.NewValidator(client.TokenReviews(), []string{"mesh.example.com"})
//	defer validator.Close()
//
//	verified, err := validator.Validate(ctx, raw)
//	err = verified.Permits(serviceaccount.Pod{Namespace: pod.Namespace, ServiceAccount: pod.Spec.ServiceAccountName,
//		Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName})
//	ctx, stop := verified.Bind(ctx) // ends when the token expires
//	defer stop()
//
// The errors are those of package token: token.ErrInvalid for a token that is
// not good, token.ErrNotPermitted for a good one of another Pod, and
// token.ErrUnavailable if the API server could not be asked.
//
// [NewAuthenticator] makes a dataplane.Authenticator of it, for servers that accept
// any kind of credential, such as those of package xdsauth.
//
// # Audiences
//
// A token is for the audiences in its aud claim. The validator accepts it only if
// one of the validator's audiences is among them. Give the control plane its own
// audience, in a projected volume (see README.md). The token that Kubernetes mounts
// by default is for the API server: a process that receives it can act as the Pod
// there.
//
// # Reviews and their rate
//
// The validator refuses a token that cannot be good without a review: a text that
// is not a JWT, a subject that is not a ServiceAccount, no matching audience, or an
// exp that is missing or has passed. Only the API server accepts a token.
//
// The validator uses a positive answer for 10 seconds ([WithCacheTTL]) but never
// after the token's exp, and a negative answer for 5 seconds. Concurrent callers with
// the same token share a review. Different tokens cause at most 100 reviews a second
// ([WithReviewLimit]); the others get token.ErrUnavailable. Tokens that were good
// before have a separate limit of the same size, so that a flood of bad tokens does
// not keep them out.
//
// # In a gRPC server
//
// A [Verified] is an Identity of package grpcauth, whose interceptors end a stream
// when its token ends. A grpcauth.AuthFunc looks like this:
//
//	auth := func(ctx context.Context, _ string) (grpcauth.Identity, error) {
//		raw, err := grpcauth.TokenFromMetadata(ctx)
//		if err != nil {
//			return nil, err
//		}
//		verified, err := validator.Validate(ctx, raw)
//		if err != nil {
//			return nil, err
//		}
//		pod, err := podOfPeer(ctx) // yours: the Pod that connects, for example by its address
//		if err != nil {
//			return nil, err
//		}
//		if err := verified.Permits(pod); err != nil {
//			return nil, err
//		}
//		return verified, nil
//	}
//	options, err := grpcauth.ServerOptions(auth)
//
// Handlers get it from grpcauth.FromContext[serviceaccount.Verified].
package serviceaccount
