package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/salgue441/velocity/balancer/discovery"
)

const (
	// pageSize is how many slices a page of a list has, maxPages how many pages are
	// read: a slice has 100 endpoints unless the cluster is told otherwise.
	pageSize = 500
	maxPages = 100
	// maxPage and maxEvent bound what is read at a time; the cluster's store bounds
	// a slice to 1.5 MiB.
	maxPage  = 256 << 20
	maxEvent = 8 << 20
	// listTimeout bounds a page of a list.
	listTimeout = 30 * time.Second
	// watchTime and a random part as long is how long a watch is asked to last;
	// grace is how much longer its end may be in coming.
	watchTime = 4 * time.Minute
	grace     = 30 * time.Second
)

// api is the API server and what it needs to be asked for the slices of a service.
type api struct {
	client *http.Client
	token  discovery.Token
	url    string // with a query
}

// list returns all slices and the version that they are of.
func (a *api) list(ctx context.Context) (sliceSet, string, error) {
	known := make(sliceSet)
	next := ""
	for range maxPages {
		page, err := a.page(ctx, next)
		if err != nil {
			return nil, "", err
		}
		for i := range page.Items {
			known[page.Items[i].Metadata.Name] = &page.Items[i]
		}
		if next = page.Metadata.Continue; next == "" {
			return known, page.Metadata.ResourceVersion, nil
		}
	}
	return nil, "", fmt.Errorf("list has more than %d slices", maxPages*pageSize)
}

func (a *api) page(ctx context.Context, next string) (*sliceList, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	query := "&limit=" + strconv.Itoa(pageSize)
	if next != "" {
		query += "&continue=" + url.QueryEscape(next)
	}
	resp, err := a.get(ctx, query)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is left to be read
	page := new(sliceList)
	if err := discovery.DecodeJSON(resp.Body, maxPage, page); err != nil {
		return nil, fmt.Errorf("read list: %w", err)
	}
	if page.Metadata.ResourceVersion == "" {
		return nil, errors.New("read list: it has no version")
	}
	return page, nil
}

// watch gives apply each event after a version. It returns nil if the stream ends
// or breaks off: all that came until then was applied.
func (a *api) watch(ctx context.Context, version string, apply func(event) error) error {
	lasts := watchTime + rand.N(watchTime)
	ctx, cancel := context.WithTimeout(ctx, lasts+grace)
	defer cancel()
	resp, err := a.get(ctx, "&watch=true&allowWatchBookmarks=true&resourceVersion="+url.QueryEscape(version)+
		"&timeoutSeconds="+strconv.Itoa(int(lasts/time.Second)))
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // what is not read is not wanted
	return readEvents(resp.Body, apply)
}

// get sends a request with the token of the moment: tokens of service accounts
// are replaced every hour or so.
func (a *api) get(ctx context.Context, query string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+query, http.NoBody)
	if err != nil {
		return nil, err
	}
	token, err := a.token.Read()
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := discovery.CheckStatus(resp); err != nil {
		resp.Body.Close() //nolint:errcheck // nothing is left to be read
		return nil, err
	}
	return resp, nil
}

// event is one of a watch.
type event struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// readEvents gives apply each event of a stream until it ends. What cannot be an
// event is an error; a stream that ends anywhere is not.
func readEvents(stream io.Reader, apply func(event) error) error {
	bounded := &boundedReader{stream: stream}
	d := json.NewDecoder(bounded)
	for {
		bounded.left = maxEvent
		var e event
		err := d.Decode(&e)
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax), errors.As(err, &kind), errors.Is(err, discovery.ErrTooLarge):
			return fmt.Errorf("read event: %w", err)
		case err != nil:
			return nil //nolint:nilerr // the watch goes on with the next request, which will fail if nobody is there
		}
		if err := apply(e); err != nil {
			return err
		}
	}
}

// boundedReader reads at most left bytes.
type boundedReader struct {
	stream io.Reader
	left   int
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, discovery.ErrTooLarge
	}
	n, err := b.stream.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
