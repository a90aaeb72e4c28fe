// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Member, Outcome, Reason} from "../IWaybill.sol";
import {Group, Tale, Tales} from "./Tale.sol";
import {Vm, vm} from "./Vm.sol";
import {OwnedWallet} from "./Wallets.sol";
import {Message, Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

/// @dev Does random things to two tasks as owners, members, wallets and strangers, and keeps books of its own: what each
/// statement must be answered, and what must stand thereafter. It fails at once when an answer or an event is another than
/// its books say; the invariants compare the chain's state with them.
contract Handler is World {
    using Tales for Tale;

    uint256 internal constant ACTORS = 10;
    uint256 private constant KEYS = 8;
    /// @dev How many earlier indices of an account the contract searches.
    uint256 private constant EARLIER = 16;

    struct Book {
        bytes32 id;
        uint256 ownerKey;
        uint32 version;
        uint64 seq;
        uint64 lastBlock;
        address[] given; // by index
    }

    struct Standing {
        bool known;
        bool active;
        uint256 index;
        uint256 rank; // how many indices it has had
    }

    struct Sheet {
        Notice notice;
        uint256 book;
        uint256 outstanding;
        uint256 verified;
        uint256 cleared;
        bool withdrawn;
        uint256 answered;
        uint256 told; // answered, by the events
    }

    Book[2] internal books;
    Sheet[] internal sheets;
    mapping(uint256 book => mapping(address => Standing)) internal standings;
    mapping(bytes32 notice => mapping(address => uint256)) private _verifiedAt; // the rank, from 1
    mapping(bytes32 id => bool) private _rejected;
    mapping(bytes32 notice => uint256) private _sheetOf; // from 1
    address[ACTORS] internal actors;
    uint256[ACTORS] private _keys;
    Item[] private _history;
    bytes32[] private _transfers;
    uint256 internal nonce;

    mapping(uint256 kind => mapping(uint256 reason => uint256)) public answered;
    mapping(string what => uint256) public reached;

    constructor() {
        deploy();
        for (uint256 i; i < ACTORS; ++i) {
            _keys[i] = keyOf(i);
            actors[i] = i < KEYS ? vm.addr(_keys[i]) : address(new OwnedWallet(vm.addr(_keys[i])));
        }
        // Task 0 has its actors on both sides of a page's end, task 1 has some of the same accounts at other places.
        address[] memory first = fillers(105);
        for (uint256 i; i < 5; ++i) {
            first[100 + i] = actors[i];
        }
        _open(0, keyOf(100), first);
        address[] memory second = new address[](4);
        for (uint256 i; i < 4; ++i) {
            second[i] = actors[3 + 2 * i]; // 3, 5, 7, and 9, a wallet
        }
        _open(1, keyOf(101), second);
    }

    // What the fuzzer calls

    function passTime(uint256 seconds_, uint8 blocks) external {
        vm.warp(block.timestamp + (seconds_ % 16 == 0 ? seconds_ % 1 days : seconds_ % 200));
        vm.roll(block.number + blocks % 5);
    }

    function admit(uint256 book, uint256 mask, uint256 seed) external {
        _change(book % 2, Kind.ADMIT, mask, seed);
    }

    function expel(uint256 book, uint256 mask, uint256 seed) external {
        if ((seed >> 128) % 3 == 0) _change(book % 2, Kind.EXPEL, mask, seed); // more are admitted than expelled
    }

    function notice(uint256 book, uint256 who, uint256 recipients, uint256 seed) external {
        Book storage b = books[book %= 2];
        Notice memory n;
        (n.task, n.sender, n.manifest, n.transfer) = (b.id, actors[who % ACTORS], "manifest", bytes32(++nonce));
        n.page = uint16(seed % 9 == 0 ? 2 : b.given.length > PAGE ? seed % 2 : 0);
        uint256 start = n.page * PAGE;
        uint256 enrolled = b.given.length > start ? b.given.length - start : 0;
        if (enrolled > PAGE) enrolled = PAGE;
        n.recipients = seed % 11 == 0 ? recipients : recipients & ((1 << enrolled) - 1);
        if (n.page == 0 && book == 0) n.recipients &= ~uint256((1 << 100) - 1) | (seed % 7 == 0 ? EVERYONE : 0);
        unchecked {
            if (seed % 3 == 0) n.recipients &= ~n.recipients + 1; // one alone, who may answer before a withdrawal
        }
        if (seed % 11 == 1) n.recipients |= 1 << enrolled;
        n.deadline = uint48(block.timestamp + (seed >> 32) % 3600 - (seed % 5 == 0 ? 1800 : 0));
        if (seed % 17 == 0) n.deadline += 30 days;
        uint256 signer = seed % 5 == 0 ? (seed >> 64) % ACTORS : who % ACTORS;
        uint8 expected = _postReason(book, n.sender, n.deadline);
        if (expected == Reason.OK) expected = _recipientsReason(n.recipients, enrolled);
        if (expected == Reason.OK && signer != who % ACTORS) expected = Reason.BAD_SIGNATURE;
        if (_relayOne(Item(Kind.NOTICE, abi.encode(n), sign(_keys[signer], Words.hash(n))), expected, seed)) {
            _enter(n, book);
            if (n.page > 0) ++reached["page 1"];
        }
    }

    /// @dev Several keys' receipts in one item, some of them strangers', repeats or for the wrong task.
    function receipts(uint256 sheet, uint256 who, uint8 count, uint256 seed) external {
        if (sheets.length == 0) return;
        Tale memory t = Tales.begin(1);
        (Item memory item, uint8[] memory expected) = _receipts(_recent(sheet), who, count, seed, t);
        t.end();
        _relayAny(item, expected, t.length == 1, seed);
    }

    /// @dev Several such items in a row, of both tasks, some of which can't be read.
    function run(uint256 sheet, uint256 who, uint8 count, uint256 seed) external {
        if (sheets.length == 0) return;
        Item[] memory list = new Item[](count % 4 + 2);
        uint8[][] memory expected = new uint8[][](list.length);
        Tale memory t = Tales.begin(list.length);
        for (uint256 i; i < list.length; ++i) {
            (list[i], expected[i]) = _anyReceipts(uint256(keccak256(abi.encode(sheet, who, seed, i))), t);
        }
        t.end();
        Relayed memory r = relayed(list);
        vm.assertEq(abi.encode(r.codes), abi.encode(expected), "another answer than the books'");
        t.assertIn(r.logs);
        for (uint256 i; i < r.logs.length; ++i) {
            if (r.logs[i].topics[0] != IWaybill.Skipped.selector) _followed(r.logs[i]);
        }
        if (t.length > 1) ++reached["a run of both tasks"];
        if (t.length != 0 && t.told[0].length > 2 * 99 + 65) ++reached["several groups in an event"];
    }

    function _anyReceipts(uint256 dice, Tale memory t) private returns (Item memory, uint8[] memory) {
        if (dice % 16 == 0) return (Item(Kind.RECEIPTS, "", ""), _codes(Reason.MALFORMED));
        return _receipts(_recent(dice >> 4), dice >> 64, uint8(dice >> 56), dice >> 128, t);
    }

    function _receipts(uint256 sheet, uint256 who, uint8 count, uint256 seed, Tale memory t)
        private
        returns (Item memory item, uint8[] memory expected)
    {
        uint256 book = seed % 9 == 0 ? 1 - sheets[sheet].book : sheets[sheet].book;
        uint8 outcome = seed % 23 == 0 ? 5 : _outcome(seed);
        bytes memory counted;
        (item.signatures, counted, expected) = _answers(book, sheet, outcome, who, count % 4 + 1);
        bytes32 id = Words.id(sheets[sheet].notice);
        (item.kind, item.data) = (Kind.RECEIPTS, abi.encode(books[book].id, id, outcome));
        t.item(books[book].id, id, outcome, counted);
    }

    function _answers(uint256 book, uint256 sheet, uint8 outcome, uint256 who, uint256 count)
        private
        returns (bytes memory all, bytes memory counted, uint8[] memory expected)
    {
        bytes32 hash = Words.hashReceipt(books[book].id, Words.id(sheets[sheet].notice), outcome);
        expected = new uint8[](count);
        for (uint256 i; i < count; ++i) {
            uint256 actor = (who >> (8 * i)) % KEYS;
            if (i % 2 == 0) actor = _asked(sheet, actor, KEYS);
            bytes memory signature = sign(_keys[actor], hash);
            all = bytes.concat(all, signature);
            expected[i] = _answer(book, sheet, actors[actor], outcome, Words.id(hash, actors[actor]));
            if (expected[i] == Reason.OK) counted = bytes.concat(counted, signature);
        }
    }

    function walletReceipt(uint256 sheet, uint256 who, uint256 seed) external {
        if (sheets.length == 0) return;
        sheet = _recent(sheet);
        uint256 book = sheets[sheet].book;
        uint256 actor = seed % 4 == 0 ? who % ACTORS : _asked(sheet, KEYS + who % 2, ACTORS);
        uint256 signer = seed % 5 == 0 ? (seed >> 8) % ACTORS : actor;
        uint8 outcome = _outcome(seed >> 16);
        bytes32 id = Words.id(sheets[sheet].notice);
        bytes32 hash = Words.hashWalletReceipt(books[book].id, id, outcome, actors[actor]);
        bytes32 statement = Words.id(hash, actors[actor]);
        uint8 expected = _receiptReason(book, sheet, actors[actor], outcome, statement);
        if (expected == Reason.OK && signer != actor) expected = Reason.BAD_SIGNATURE;
        if (expected == Reason.OK) _count(sheet, actors[actor], outcome, statement);
        bytes memory data = abi.encode(books[book].id, id, outcome, actors[actor]);
        _relayOne(Item(Kind.WALLET_RECEIPT, data, sign(_keys[signer], hash)), expected, seed);
    }

    function withdraw(uint256 sheet, uint256 seed) external {
        if (sheets.length == 0) return;
        Sheet storage s = sheets[sheet = _recent(sheet)];
        uint256 author;
        while (actors[author] != s.notice.sender) ++author;
        uint256 signer = seed % 3 == 0 ? (seed >> 8) % ACTORS : author;
        uint8 expected = s.withdrawn ? Reason.DUPLICATE : s.outstanding == 0 ? Reason.NOT_OUTSTANDING : Reason.OK;
        if (expected == Reason.OK && signer != author) expected = Reason.BAD_SIGNATURE;
        bytes memory signature = sign(_keys[signer], Words.hashWithdraw(s.notice));
        if (_relayOne(Item(Kind.WITHDRAW, abi.encode(s.notice), signature), expected, seed)) {
            s.cleared |= s.outstanding;
            (s.outstanding, s.withdrawn) = (0, true);
            if (!standings[s.book][s.notice.sender].active) ++reached["withdrawn by an expelled sender"];
        }
    }

    function message(uint256 book, uint256 who, uint256 seed) external {
        book %= 2;
        Message memory m;
        (m.task, m.sender, m.salt, m.recipients) = (books[book].id, actors[who % ACTORS], bytes32(++nonce), EVERYONE);
        m.payload = new bytes(seed % 100);
        m.deadline = uint48(block.timestamp + 100 - (seed % 7 == 0 ? 200 : 0));
        uint256 signer = seed % 5 == 0 ? (seed >> 8) % ACTORS : who % ACTORS;
        uint8 expected = _postReason(book, m.sender, m.deadline);
        if (expected == Reason.OK && signer != who % ACTORS) expected = Reason.BAD_SIGNATURE;
        _relayOne(Item(Kind.MESSAGE, Words.encode(m), sign(_keys[signer], Words.hash(m))), expected, seed);
    }

    /// @dev Whatever counted once, relayed again at any later time, is found to be here already. (But for the stated limit
    /// of sixteen readmissions, which `receipts` reckons with.)
    function replay(uint256 which, uint256 seed) external {
        if (_history.length == 0) return;
        Item memory item = _history[which % _history.length];
        uint8[][] memory codes = relayed(_wrapped(item, seed)).codes;
        for (uint256 i; i < codes[1].length; ++i) {
            vm.assertTrue(codes[1][i] != Reason.OK, "a replay counted");
            ++answered[item.kind][codes[1][i]];
            if (item.kind != Kind.RECEIPTS) vm.assertEq(codes[1][i], Reason.DUPLICATE, "a replay is a duplicate");
        }
        ++reached["replay"];
    }

    /// @dev Another Open of a task that is there.
    function reopen(uint256 book, uint256 mask, uint256 seed) external {
        Book storage b = books[book % 2];
        address[] memory list = _pick(mask);
        if (list.length == 0) return;
        _relayOne(_openItem(b.ownerKey, list), Reason.TASK_EXISTS, seed);
    }

    // The books

    function _open(uint256 book, uint256 key, address[] memory members) private {
        Book storage b = books[book];
        (b.id, b.ownerKey, b.version) = (Words.task(vm.addr(key), SALT), key, 1);
        _enroll(book, members);
        _relayOne(_openItem(key, members), Reason.OK, 1);
    }

    function _openItem(uint256 key, address[] memory members) private view returns (Item memory) {
        address owner = vm.addr(key);
        bytes memory data = bytes.concat(abi.encode(owner, SALT, 0x60, members.length), words(members));
        return Item(Kind.OPEN, data, sign(key, Words.hashOpen(owner, SALT, members)));
    }

    function _enroll(uint256 book, address[] memory members) private {
        for (uint256 i; i < members.length; ++i) {
            Standing storage s = standings[book][members[i]];
            if (s.active) continue;
            if (s.known) ++reached["admitted again"];
            (s.known, s.active, s.index, s.rank) = (true, true, books[book].given.length, s.rank + 1);
            books[book].given.push(members[i]);
        }
    }

    function _enter(Notice memory n, uint256 book) private {
        Sheet storage s = sheets.push();
        (s.notice, s.book, s.outstanding) = (n, book, n.recipients);
        _sheetOf[Words.id(n)] = sheets.length;
    }

    function _change(uint256 book, uint8 kind, uint256 mask, uint256 seed) private {
        Book storage b = books[book];
        address[] memory members = _pick(mask);
        if (members.length == 0) return;
        uint256 version = seed % 6 == 0 ? b.version - 1 : seed % 6 == 1 ? b.version + 1 : b.version;
        uint256 key = seed % 5 == 0 ? _keys[(seed >> 8) % ACTORS] : b.ownerKey;
        bytes32 hash = Words.hashChange(kind, b.id, members, version);
        uint8 expected = version < b.version
            ? Reason.STALE_ROSTER
            : version > b.version ? Reason.FUTURE_ROSTER : key != b.ownerKey ? Reason.BAD_SIGNATURE : Reason.OK;
        if (_rejected[Words.id(hash, vm.addr(b.ownerKey))]) expected = Reason.DUPLICATE;
        bytes memory data = bytes.concat(abi.encode(b.id, 0x60, version, members.length), words(members));
        if (!_relayOne(Item(kind, data, sign(key, hash)), expected, seed)) return;
        _rejected[Words.id(hash, vm.addr(b.ownerKey))] = true; // seen
        ++b.version;
        if (kind == Kind.ADMIT) _enroll(book, members);
        for (uint256 i; kind == Kind.EXPEL && i < members.length; ++i) {
            standings[book][members[i]].active = false;
        }
    }

    function _postReason(uint256 book, address sender, uint256 deadline) private view returns (uint8) {
        Standing storage s = standings[book][sender];
        if (!s.known) return Reason.UNKNOWN_MEMBER;
        if (!s.active) return Reason.EXPELLED;
        if (deadline < block.timestamp) return Reason.EXPIRED;
        return deadline > block.timestamp + 30 days ? Reason.BAD_DEADLINE : Reason.OK;
    }

    function _recipientsReason(uint256 recipients, uint256 enrolled) private pure returns (uint8) {
        if (recipients == 0 || recipients >> PAGE != 0) return Reason.BAD_RECIPIENTS;
        return recipients >> enrolled == 0 ? Reason.OK : Reason.UNKNOWN_RECIPIENT;
    }

    function _receiptReason(uint256 book, uint256 sheet, address author, uint8 outcome, bytes32 statement)
        private
        view
        returns (uint8)
    {
        Sheet storage n = sheets[sheet];
        Standing storage s = standings[book][author];
        if (outcome == 0 || outcome > 4) return Reason.BAD_OUTCOME;
        if (!s.known) return Reason.UNKNOWN_MEMBER;
        bool here = book == n.book && s.index / PAGE == n.notice.page;
        uint256 verifiedAt = book == n.book ? _verifiedAt[Words.id(n.notice)][author] : 0;
        if (outcome == Outcome.VERIFIED ? verifiedAt != 0 && s.rank - verifiedAt <= EARLIER : _rejected[statement]) {
            return Reason.DUPLICATE;
        }
        if (!here) return Reason.UNKNOWN_NOTICE;
        if (!s.active) return Reason.EXPELLED;
        if (block.timestamp > n.notice.deadline) return Reason.EXPIRED;
        return n.outstanding >> (s.index % PAGE) & 1 != 0 ? Reason.OK : Reason.NOT_OUTSTANDING;
    }

    function _answer(uint256 book, uint256 sheet, address author, uint8 outcome, bytes32 statement)
        private
        returns (uint8 reason)
    {
        reason = _receiptReason(book, sheet, author, outcome, statement);
        if (reason == Reason.OK) _count(sheet, author, outcome, statement);
    }

    function _count(uint256 sheet, address author, uint8 outcome, bytes32 statement) private {
        Sheet storage n = sheets[sheet];
        Standing storage s = standings[n.book][author];
        uint256 bit = 1 << (s.index % PAGE);
        n.outstanding &= ~bit;
        n.cleared |= bit;
        n.answered |= bit;
        if (outcome == Outcome.VERIFIED) {
            n.verified |= bit;
            _verifiedAt[Words.id(n.notice)][author] = s.rank;
        } else {
            _rejected[statement] = true;
        }
        if (s.rank > 1) ++reached["answered by one admitted again"];
        if (n.notice.page > 0) ++reached["answered on page 1"];
    }

    // Relaying

    function _relayOne(Item memory item, uint8 expected, uint256 seed) private returns (bool applied) {
        uint8[] memory codes = new uint8[](1);
        codes[0] = expected;
        _relayAny(item, codes, expected == Reason.OK, seed);
        return expected == Reason.OK;
    }

    function _relayAny(Item memory item, uint8[] memory expected, bool any, uint256 seed) private {
        for (uint256 i; i < expected.length; ++i) {
            ++answered[item.kind][expected[i]];
        }
        uint256 events = any ? 1 : 0;
        Relayed memory r;
        if (any) {
            r = relayed(_wrapped(item, seed));
            _history.push(item);
        } else {
            uint256 snapshot = watch();
            r = relayed(_wrapped(item, seed));
            assertNothingChanged(snapshot);
        }
        vm.assertEq(abi.encode(r.codes[1]), abi.encode(expected), "another answer than the books'");
        for (uint256 i; i < r.logs.length; ++i) {
            if (r.logs[i].topics[0] == IWaybill.Skipped.selector) continue;
            _followed(r.logs[i]);
            --events;
        }
        vm.assertEq(events, 0, "an event for what was applied");
    }

    /// @dev An item between two that must not matter: forged, unreadable, or of no kind.
    function _wrapped(Item memory item, uint256 seed) private view returns (Item[] memory list) {
        list = new Item[](3);
        list[0] = _bad(item, seed % 4);
        list[1] = item;
        list[2] = _bad(item, (seed >> 4) % 4);
    }

    function _bad(Item memory item, uint256 how) private view returns (Item memory) {
        if (how == 0) return Item(9, item.data, item.signatures);
        if (how == 1) return Item(item.kind, bytes.concat(item.data, hex"00"), item.signatures);
        if (how == 2) return Item(item.kind, item.data, "");
        // A stranger's receipt for the same task and whatever the second word names.
        (bytes32 a, bytes32 b) = abi.decode(item.data, (bytes32, bytes32));
        return Item(Kind.RECEIPTS, abi.encode(a, b, 1), sign(STRANGER, Words.hashReceipt(a, b, 1)));
    }

    /// @dev Each event of a task is the next of its line.
    function _followed(Vm.Log memory log) private {
        Book storage b = log.topics[1] == books[0].id ? books[0] : books[1];
        vm.assertEq(log.topics[1], b.id, "a task's event");
        (uint64 seq_, uint64 prevBlock) = abi.decode(log.data, (uint64, uint64));
        vm.assertEq(seq_, b.seq + 1, "seq rises by one");
        vm.assertEq(prevBlock, b.lastBlock, "prevBlock is the block before");
        (b.seq, b.lastBlock) = (seq_, uint64(block.number));
        if (log.topics[0] == IWaybill.Receipts.selector) {
            (,, bytes memory packed) = abi.decode(log.data, (uint64, uint64, bytes));
            Group[] memory groups = Tales.groups(packed);
            for (uint256 i; i < groups.length; ++i) {
                _toldGroup(b.id, groups[i]);
            }
        } else if (log.topics[0] == IWaybill.WalletReceipt.selector) {
            (,, bytes32 id,, address account) = abi.decode(log.data, (uint64, uint64, bytes32, uint8, address));
            _toldAnswer(b.id, id, account);
        }
    }

    /// @dev As a reader does who has nothing but the events.
    function _toldGroup(bytes32 ofTask, Group memory g) private {
        bytes32 digest = Words.digest(domain, Words.hashReceipt(ofTask, g.notice, g.outcome));
        for (uint256 i; i < g.signatures.length; ++i) {
            (bytes32 r, bytes32 s) = abi.decode(g.signatures[i], (bytes32, bytes32));
            _toldAnswer(ofTask, g.notice, ecrecover(digest, uint8(g.signatures[i][64]), r, s));
        }
    }

    function _toldAnswer(bytes32 ofTask, bytes32 id, address author) private {
        Sheet storage n = sheets[_sheetOf[id] - 1];
        vm.assertEq(n.notice.task, ofTask, "a notice of the event's task");
        uint256 bit = 1 << (standings[n.book][author].index % PAGE);
        vm.assertTrue(author != address(0) && n.told & bit == 0, "told once");
        n.told |= bit;
    }

    function _codes(uint8 code) private pure returns (uint8[] memory list) {
        list = new uint8[](1);
        list[0] = code;
    }

    function _pick(uint256 mask) private view returns (address[] memory list) {
        list = new address[](3);
        uint256 length;
        mask &= type(uint128).max;
        for (uint256 i; i < ACTORS && length < 3; ++i) {
            if (mask >> i & 1 != 0) list[length++] = actors[(i + (mask >> 32)) % ACTORS];
        }
        assembly {
            mstore(list, length)
        }
    }

    /// @dev The first actor from this one on whose answer is outstanding, or this one.
    function _asked(uint256 sheet, uint256 actor, uint256 limit) private view returns (uint256) {
        Sheet storage n = sheets[sheet];
        for (uint256 i = actor; i < limit; ++i) {
            Standing storage s = standings[n.book][actors[i]];
            if (s.active && s.index / PAGE == n.notice.page && n.outstanding >> (s.index % PAGE) & 1 != 0) return i;
        }
        return actor;
    }

    /// @dev Mostly one of the newest, which still live.
    function _recent(uint256 sheet) private view returns (uint256) {
        uint256 span = sheet % 4 == 0 || sheets.length < 3 ? sheets.length : 3;
        return sheets.length - 1 - (sheet >> 8) % span;
    }

    function _outcome(uint256 seed) private pure returns (uint8) {
        return seed % 3 == 0 ? uint8(2 + (seed >> 4) % 3) : Outcome.VERIFIED;
    }
}
