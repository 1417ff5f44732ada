-- The drops of the products that are there, 1,000 at a time. Repeated until every drop has its row. A slug has the Latin
-- letters and digits of the name; where it would be empty, or another drop has it, a part of the id follows. Aurora DSQL
-- has no unaccent, and its lower() knows ASCII only.
INSERT INTO drops (id, slug, name, created_at)
SELECT md5(drop_name)::uuid,
       CASE WHEN plain = '' OR number > 1 OR EXISTS (SELECT 1 FROM drops WHERE drops.slug = named.plain)
            THEN ltrim(rtrim(left(plain, 47), '-') || '-' || left(md5(drop_name), 12), '-') ELSE plain END,
       drop_name, created_at
FROM (
    SELECT drop_name, created_at, plain, row_number() OVER (PARTITION BY plain ORDER BY created_at, drop_name) AS number
    FROM (
        SELECT drop_name, min(created_at) AS created_at,
               btrim(left(btrim(regexp_replace(lower(translate(drop_name,
                   'ÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝàáâãäåçèéêëìíîïñòóôõöøùúûüýÿ',
                   'AAAAAACEEEEIIIINOOOOOOUUUUYaaaaaaceeeeiiiinoooooouuuuyy'
               )), '[^a-z0-9]+', '-', 'g'), '-'), 60), '-') AS plain
        FROM products
        WHERE NOT EXISTS (SELECT 1 FROM drops WHERE drops.id = md5(products.drop_name)::uuid)
        GROUP BY drop_name LIMIT 1000
    ) AS missing
) AS named
ON CONFLICT (id) DO NOTHING
