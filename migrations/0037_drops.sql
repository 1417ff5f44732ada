-- The drops: what products that share a `drop_name` belong to. The id is md5(name) as a UUID. The slug is the drop's name
-- in addresses, and never changes. A drop's row is written with its first product.
CREATE TABLE IF NOT EXISTS drops (
    id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
