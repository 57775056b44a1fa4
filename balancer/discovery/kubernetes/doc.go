// Package kubernetes discovers targets by the EndpointSlices of a service.
//
// It owns listing and watching them (discovery.k8s.io/v1) over the API's HTTP:
// pages, resource versions, bookmarks, and beginning anew when a version has
// expired; and what endpoints mean: merging the slices of a service, choosing a
// port, telling those that are ready from those that terminate. One kind of object
// is read, with list and watch on endpointslices as the only rights; the
// official client would more than double the program.
//
// Endpoints that are ready are targets. One that terminates but still serves is a
// draining target, unless no endpoint of the service is ready: then it is better
// than none, as it is to the cluster's own proxies.
package kubernetes
