"""The built-in providers: plugins like any other, one a module."""
