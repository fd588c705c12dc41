package jwks_test

import (
	"fmt"
	"net/http"

	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func ExampleURL() {
	source, err := jwks.URL("https://id.example.com/jwks.json", token.Demands{
		Issuer:   "https://id.example.com",
		Audience: "mesh.example.com",
		Type:     "at+jwt",
	})
	fmt.Println(source, err)

	_, err = jwks.URL("https://id.example.com/jwks.json", token.Demands{Issuer: "https://id.example.com"})
	fmt.Println(err)
	// Output:
	// https://id.example.com/jwks.json <nil>
	// jwks: https://id.example.com/jwks.json: the demands name no Audience; WithTokensForAnyAudience gives it up
}

func ExampleWithHTTPClient() {
	direct := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	source, err := jwks.URL("http://localhost:8080/keys", token.Demands{},
		jwks.WithTokensOfAnyIssuer(), jwks.WithTokensForAnyAudience(), jwks.WithHTTPClient(direct))
	fmt.Println(source, err)
	// Output: http://localhost:8080/keys <nil>
}

func ExampleParse() {
	set, err := jwks.Parse([]byte(`{"keys":[
		{"kty":"EC","kid":"other","crv":"P-256","x":"...","y":"..."},
		{"kty":"RSA","kid":"short","n":"AQAB","e":"AQAB"}]}`))
	fmt.Println(len(set.Keys), err)
	for _, problem := range set.Problems {
		fmt.Println(problem)
	}
	// Output:
	// 0 <nil>
	// keys[0] with kid "other": unusable key: found kty "EC", wanted "RSA"
	// keys[1] with kid "short": unusable key: found an RSA key of 17 bits, wanted one of 2048 to 8192
}

func ExampleFormat() {
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		panic(err)
	}
	document, err := jwks.Format(map[string]*signing.PublicKey{"west-1": key.Public()})
	fmt.Printf("%.67s... %v\n", document, err)
	// Output: {"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"west-1","n":... <nil>
}
