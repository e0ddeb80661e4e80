template <class T> struct Holder { T t; ~Holder() { t = 0; } int get(int x) { if (x > 9) throw x; return x + t; } };
int use(int x) { try { Holder<int> h{x}; return h.get(x); } catch (int &e) { return e; } }
