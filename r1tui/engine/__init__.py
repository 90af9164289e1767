"""llama.cpp's llama-server: found in the cache, built when it is not there, and asked what it can do."""
