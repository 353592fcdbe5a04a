// Language runtimes under load, dumped and checked afterwards: programs that check themselves.
import { testSoftware } from "./softwareTests";

testSoftware([".js", ".rb", ".java"]);
