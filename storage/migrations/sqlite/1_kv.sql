-- An ordinary table, not WITHOUT ROWID: values of 64 KiB would make its tree a bad one to search keys in.
CREATE TABLE annex_kv (
    tenant    TEXT NOT NULL COLLATE BINARY,
    extension TEXT NOT NULL COLLATE BINARY,
    -- Bytes, so that their order is the order.
    key       BLOB NOT NULL,
    value     BLOB NOT NULL,
    PRIMARY KEY (tenant, extension, key)
);

CREATE TABLE annex_kv_usage (
    tenant    TEXT NOT NULL COLLATE BINARY,
    extension TEXT NOT NULL COLLATE BINARY,
    bytes     BIGINT NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (tenant, extension)
) WITHOUT ROWID;
