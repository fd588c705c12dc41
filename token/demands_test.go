package token_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

func TestTypeIsWhatTheKeyDemands(t *testing.T) {
	for name, c := range map[string]struct {
		typ, demanded string
		good          bool
	}{
		"JWT without a demand":               {`,"typ":"JWT"`, "", true},
		"no typ without a demand":            {``, "", true},
		"at+jwt without a demand":            {`,"typ":"at+jwt"`, "", false},
		"application/jwt without a demand":   {`,"typ":"application/jwt"`, "", false},
		"at+jwt":                             {`,"typ":"at+jwt"`, "at+jwt", true},
		"at+jwt in upper case":               {`,"typ":"AT+JWT"`, "at+jwt", true},
		"application/at+jwt":                 {`,"typ":"application/at+jwt"`, "at+jwt", true},
		"at+jwt for application/at+jwt":      {`,"typ":"at+jwt"`, "application/at+jwt", true},
		"application/ twice":                 {`,"typ":"application/application/at+jwt"`, "at+jwt", false},
		"JWT where at+jwt is demanded":       {`,"typ":"JWT"`, "at+jwt", false},
		"no typ where at+jwt is demanded":    {``, "at+jwt", false},
		"no typ where JWT is demanded":       {``, "JWT", false},
		"a longer typ than at+jwt":           {`,"typ":"at+jwt2"`, "at+jwt", false},
		"a typ that folds to at+jwt":         {`,"typ":"at+ꭻwt"`, "at+jwt", false},
		"jwt in lower case without a demand": {`,"typ":"jwt"`, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			header, err := parse(t, `{"alg":"RS256","kid":"1"`+c.typ+`}`, goodPayload).HeaderOfAnyType()
			require.NoError(t, err)
			err = header.CheckType(token.Demands{Type: c.demanded})
			if c.good {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, token.ErrHeader)
			}
		})
	}
}

func TestClaimsSayWhatTheKeyDemands(t *testing.T) {
	both := token.Demands{Issuer: "https://idp", Audience: "mesh"}
	for name, c := range map[string]struct {
		claims  string
		demands token.Demands
		want    error
	}{
		"aud is a string":               {`"iss":"https://idp","aud":"mesh"`, both, nil},
		"aud is a list":                 {`"iss":"https://idp","aud":["other","mesh"]`, both, nil},
		"nothing is demanded":           {`"iss":1,"aud":{}`, token.Demands{}, nil},
		"ISS where nothing is demanded": {`"ISS":"a","AUD":1`, token.Demands{}, nil},
		"iss alone is demanded":         {`"iss":"https://idp","AUD":1`, token.Demands{Issuer: "https://idp"}, nil},
		"iss is another":                {`"iss":"https://idp/","aud":"mesh"`, both, token.ErrIssuer},
		"iss in another case":           {`"iss":"HTTPS://idp","aud":"mesh"`, both, token.ErrIssuer},
		"iss is missing":                {`"aud":"mesh"`, both, token.ErrIssuer},
		"iss is null":                   {`"iss":null,"aud":"mesh"`, both, token.ErrIssuer},
		"iss is empty":                  {`"iss":"","aud":"mesh"`, both, token.ErrIssuer},
		"iss is a list":                 {`"iss":["https://idp"],"aud":"mesh"`, both, token.ErrClaims},
		"iss twice":                     {`"iss":"https://idp","iss":"https://idp","aud":"mesh"`, both, token.ErrClaims},
		"ISS":                           {`"ISS":"https://idp","iss":"https://idp","aud":"mesh"`, both, token.ErrClaims},
		"ısſ":                           {`"iſs":"https://idp","iss":"https://idp","aud":"mesh"`, both, token.ErrClaims},
		"aud is another":                {`"iss":"https://idp","aud":"mesh2"`, both, token.ErrAudience},
		"aud lists others":              {`"iss":"https://idp","aud":["a","b"]`, both, token.ErrAudience},
		"aud is empty":                  {`"iss":"https://idp","aud":""`, both, token.ErrAudience},
		"aud is an empty list":          {`"iss":"https://idp","aud":[]`, both, token.ErrAudience},
		"aud is missing":                {`"iss":"https://idp"`, both, token.ErrAudience},
		"aud is null":                   {`"iss":"https://idp","aud":null`, both, token.ErrAudience},
		"aud is a number":               {`"iss":"https://idp","aud":1`, both, token.ErrClaims},
		"aud is an object":              {`"iss":"https://idp","aud":{"mesh":1}`, both, token.ErrClaims},
		"aud lists a number":            {`"iss":"https://idp","aud":["mesh",1]`, both, token.ErrClaims},
		"Aud":                           {`"iss":"https://idp","aud":"mesh","Aud":"x"`, both, token.ErrClaims},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, goodHeader, `{"Mesh":"default",`+c.claims+`}`).ClaimsUnder(c.demands)
			if c.want == nil {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, c.want)
			assert.ErrorIs(t, err, token.ErrInvalid)
		})
	}
}

func TestClaimsInLowerCaseAreThoseOfTheProxyOnlyIfTheKeySaysSo(t *testing.T) {
	user := `{"Mesh":"default","mesh":7,"name":"dp-1","scope":"openid profile","tags":null,"type":["a"],"workload":{},"zone":"","exp":4000000000}`
	claims, err := parse(t, goodHeader, user).ClaimsUnder(token.Demands{})
	require.NoError(t, err)
	assert.Equal(t, token.Dataplane{Mesh: "default"}, claims.Dataplane)
	assert.EqualValues(t, 4000000000, claims.ExpiresAt.Unix())
	_, err = parse(t, goodHeader, user).ClaimsUnder(token.Demands{LowerCase: true})
	assert.ErrorIs(t, err, token.ErrClaims)

	claims, err = parse(t, goodHeader, `{"Mesh":"default","Name":"dp-1","name":"dp-2"}`).ClaimsUnder(token.Demands{})
	require.NoError(t, err)
	assert.Equal(t, "dp-1", claims.Dataplane.Name)
	_, err = parse(t, goodHeader, `{"mesh":"default","name":"dp-1"}`).ClaimsUnder(token.Demands{})
	assert.ErrorContains(t, err, "both missing")

	for _, spelling := range []string{"NAME", "nAme", "TAGS", "ſcope", "ſCOPE", "EXP", "Jti", "worKload"} {
		_, err := parse(t, goodHeader, `{"Mesh":"default","`+spelling+`":"x"}`).ClaimsUnder(token.Demands{})
		assert.ErrorIs(t, err, token.ErrClaims, spelling)
		assert.ErrorContains(t, err, "is not a way to spell claim", spelling)
	}
}
