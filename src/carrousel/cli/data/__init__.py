"""Public data sets by name: looked for in $CARROUSEL_DATA, then in the cache, then downloaded."""
