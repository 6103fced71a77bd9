// Package function answers HTTP requests.
package function

import (
	"fmt"
	"net/http"
)

// Handle greets whoever the query names: /?name=world.
func Handle(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if name == "" {
		name = "world"
	}
	fmt.Fprintf(w, "Hello, %s!\n", name)
}
