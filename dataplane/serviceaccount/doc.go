// Package serviceaccount authenticates data plane proxies on Kubernetes by the
// tokens of their ServiceAccounts, in place of dataplane tokens. Nothing has to
// be issued: the kubelet gives each Pod a token, and replaces it in time.
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
// [NewAuthenticator] makes of it a dataplane.Authenticator, for servers that take
// proxies by any kind of credential, such as package xdsauth.
//
// # Audiences
//
// A token is for the audiences in its aud claim, and the validator accepts it
// only if one of its own is among them. Give the control plane an audience of its
// own, in a projected volume (see README.md). The token that Kubernetes mounts by
// default is for the API server: who receives it can act as the Pod there.
//
// # What is asked, and how often
//
// A token that cannot be good is refused without a review: another form than a
// JWT, a subject that is no ServiceAccount, none of our audiences, no expiry, or
// one that has passed. This never accepts anything; only the API server does.
//
// A positive answer is used for 10 seconds ([WithCacheTTL]) and never after the
// token's exp, a negative one for 5 seconds. Concurrent callers with the same
// token share a review. Different tokens cause at most 100 reviews a second
// ([WithReviewLimit]); the others get token.ErrUnavailable. Tokens that were good
// before have a limit of their own, of the same size, so that a flood of bad
// ones does not keep them out.
//
// # In a gRPC server
//
// A [Verified] is an Identity of package grpcauth, whose interceptors end a stream
// with its token. An authenticator is a function:
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
//	stream, err := grpcauth.StreamServerInterceptor(auth)
//
// Handlers get it from grpcauth.FromContext[serviceaccount.Verified].
package serviceaccount
