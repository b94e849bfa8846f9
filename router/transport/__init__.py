"""How bytes are moved: requests for the sync router, aiohttp for the async one."""
