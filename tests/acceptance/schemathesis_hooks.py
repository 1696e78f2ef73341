"""What schemathesis has to be told of our API: it loads this file by its name."""

import schemathesis

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
