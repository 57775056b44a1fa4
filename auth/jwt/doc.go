// Package jwt verifies JSON Web Tokens (RFC 7519) signed with JWS (RFC 7515)
// and gives the identity they carry. It owns keys and their rotation, the
// checks of signature and claims, and a cache of tokens that passed. It does not
// own where in a request a token is found or what a refused caller is answered.
//
// The algorithm is the operator's or the key's choice and never the token's: a
// token's alg must be among those that its key is bound to. Parsing is strict,
// so that no other reader of the token can understand it differently.
package jwt
