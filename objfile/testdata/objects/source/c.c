static int counter;
int common_one[8];
extern int elsewhere(const char *);
static int twice(int x) { return 2 * x + counter; }
int thrice(int x) { return 3 * x; }
int (*const table[])(int) = { twice, thrice };
int same(int) __attribute__((alias("thrice")));
int choose(int x) { return x ? elsewhere("nonzero") : table[x & 1](x); }
