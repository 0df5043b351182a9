-- Collation "C", because the others' order changes with the system's libraries and leaves indexes that find nothing.
CREATE TABLE annex_kv (
    tenant    TEXT COLLATE "C" NOT NULL,
    extension TEXT COLLATE "C" NOT NULL,
    -- Bytes, so that their order is the order, and because TEXT has no place for U+0000, which a guest may have in a key.
    key       BYTEA NOT NULL,
    value     BYTEA NOT NULL,
    PRIMARY KEY (tenant, extension, key)
);

-- Room in each page, so that the next version of a row stays in it and no index changes.
CREATE TABLE annex_kv_usage (
    tenant    TEXT COLLATE "C" NOT NULL,
    extension TEXT COLLATE "C" NOT NULL,
    bytes     BIGINT NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (tenant, extension)
) WITH (fillfactor = 50);
